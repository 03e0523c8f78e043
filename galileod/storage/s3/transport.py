"""How requests are sent: bodies without copies, and with a time limit for each part of one.

urllib3 applies the time limit for connecting also to sending, and to a whole body at once: with
5 seconds, a body that takes longer would fail. Here each BLOCK has a limit of its own.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from .library import (
    AWSHTTPConnection,
    AWSHTTPSConnection,
    HTTPConnectionPool,
    HTTPSConnectionPool,
    add_expect_header,
)

CONNECT_SECONDS: Final = 5.0
"""Time limit for a connection, once for each address of the server."""

SEND_SECONDS: Final = 60.0
"""Time limit for BLOCK bytes to be sent."""

READ_SECONDS: Final = 60.0
"""Time limit for each wait for a part of the response."""

BLOCK: Final = 256 << 10
"""Bytes that are sent at once."""


_REDIRECTS: Final = {301, 302, 303, 307, 308}


class Body:
    """The body of a request, as a file that botocore can rewind to send it again.

    `read` returns slices of `data`, whatever number of bytes it is asked for: urllib3 asks for
    16 KiB, which would take sixteen times as many calls.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def read(self, count: int = -1) -> memoryview:
        """The next slice; an empty one at the end."""
        del count
        begin = self._at
        self._at = min(begin + BLOCK, len(self._data))
        return self._data[begin : self._at]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """As a file."""
        return self._at


class _HttpConnection(AWSHTTPConnection):  # type: ignore[misc]  # botocore has no types
    def send(self, data: Any) -> None:  # noqa: ANN401  whatever http.client sends
        if self.sock is None:
            self.connect()
        self.sock.settimeout(SEND_SECONDS)
        super().send(data)


class _HttpsConnection(AWSHTTPSConnection):  # type: ignore[misc]  # botocore has no types
    def send(self, data: Any) -> None:  # noqa: ANN401  whatever http.client sends
        if self.sock is None:
            self.connect()
        self.sock.settimeout(SEND_SECONDS)
        super().send(data)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class RedirectedError(Exception):
    """The server redirects to `location`, and does not say that the bucket is in another region."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


def _refuse_redirect(response_dict: Mapping[str, Any] | None, **_more: object) -> None:
    """Raise RedirectedError, as where a web server redirects to HTTPS.

    Without a region, botocore would ask for that, and be redirected again, without end.
    """
    if response_dict is None or response_dict["status_code"] not in _REDIRECTS:
        return
    headers = response_dict["headers"]
    if "x-amz-bucket-region" not in headers:
        raise RedirectedError(headers.get("location", "another address"))


def adapt(client: Any) -> None:  # noqa: ANN401  botocore makes its class when it runs
    """Have a client of botocore send as described above.

    It also sends a body without waiting for the server's consent: that would take a round trip for
    each part, and a second where the server does not know of it.
    """
    session = client._endpoint.http_session  # noqa: SLF001  botocore has no option for this
    session._pool_classes_by_scheme.update(http=_HttpPool, https=_HttpsPool)  # noqa: SLF001
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("response-received.s3", _refuse_redirect)
