"""HTTP/1.1: reads one request head from a connection, and writes one response."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import h11
import trio
from attrs import field, frozen

from .streams import DirectStream

MAX_HEAD: Final = 16 * 1024
"""Maximum size of a request head in bytes; a larger one is answered with status 431."""

READ: Final = 4 * 1024
"""Maximum bytes of a read until the head is complete, and therefore of `surplus`."""


class RequestAbandoned(Exception):  # noqa: N818  usual for a port scan, not an error
    """The peer closed the connection before its request head was complete."""


@frozen
class Request:
    """A request head. Header names are in lower case, strings are Latin-1.

    `surplus` are bytes that were read beyond the head. `scheme` and `host` (with a port, if any)
    are those of the URL that the client requested. `port` is the port in that URL if a proxy names
    it separately, as some do that leave it out of the host.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    surplus: bytes
    version: str = "1.1"
    scheme: str = "http"
    host: str = field()
    port: str | None = None

    @host.default
    def _host_header(self) -> str:
        return self.headers.get("host", "")

    @property
    def path(self) -> str:
        """The path of the target as sent, without the query; empty if the target is not a URL."""
        try:
            return urlsplit(self.target).path
        except ValueError:  # such as //[
            return ""

    def tokens(self, name: str) -> set[str]:
        """The comma-separated tokens of a header, in lower case."""
        return {token.strip().lower() for token in self.headers.get(name, "").split(",")}


@frozen
class ByteStream:
    """A response body that is sent while it is produced.

    `length` is its length in bytes. If it is None, the body is sent with chunked encoding, or, to
    an HTTP/1.0 client, ends with the connection. `chunks` is closed when the last byte is sent, or
    the connection is lost.
    """

    chunks: AsyncGenerator[bytes, None]
    length: int | None = None


@frozen
class Response:
    """A response; the connection is closed after it.

    A string body without a Content-Type header is sent as one line of plain text. `refuses` says
    whether the log and the metrics count the response as a refused connection; by default all with
    a status of 400 or more do.
    """

    status: int
    body: str | ByteStream
    headers: Mapping[str, str] = field(factory=dict)
    refuses: bool = field()

    @refuses.default
    def _is_error(self) -> bool:
        return self.status >= HTTPStatus.BAD_REQUEST

    @property
    def text(self) -> str:
        """The body, if it is a string."""
        return self.body if isinstance(self.body, str) else ""


class Refused(Exception):  # noqa: N818  a fault of the peer, not an error of the daemon
    """A connection or request is refused: `response` is sent, if it is not None.

    The message is the reason for the log.
    """

    def __init__(self, response: Response | None, reason: str | None = None) -> None:
        super().__init__(reason if response is None else response.text)
        self.response = response


class RequestTimeout(Refused):
    """The request head was not complete in time.

    The response is 408 if `began`; a peer that sent no byte gets none.
    """

    def __init__(self, *, began: bool) -> None:
        response = Response(408, "The request took too long.") if began else None
        super().__init__(response, "nothing was received in time")


class BadRequest(Refused):
    """The request is malformed. `response` is never None."""

    response: Response

    def __init__(self, status: int, text: str) -> None:
        super().__init__(Response(status, text))


class RequestReader:
    """Reads the request head from a connection."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._length = 0

    def read_nowait(self) -> Request | None:
        """Read what has arrived; None if the head is not complete by then. Raises as `read`."""
        if not isinstance(self._stream, DirectStream):
            return None
        try:
            while (data := self._stream.receive_nowait(READ)) is not None:
                if request := self._parse(data):
                    return request
        except trio.BrokenResourceError:
            raise RequestAbandoned("the connection was lost") from None
        return None

    async def read(self, timeout: float) -> Request:
        """Read the rest of the head within `timeout` seconds.

        Raises RequestTimeout; RequestAbandoned if the peer closed the connection before that; and
        BadRequest if the head is too large or not HTTP/1.x.
        """
        try:
            with trio.fail_after(timeout):
                while True:
                    if request := self._parse(bytes(await self._stream.receive_some(READ))):
                        return request
        except trio.TooSlowError:
            raise RequestTimeout(began=self._length > 0) from None
        except trio.BrokenResourceError:
            raise RequestAbandoned("the connection was lost") from None

    def _parse(self, data: bytes) -> Request | None:
        if not data:
            raise RequestAbandoned("the peer closed the connection within its request")
        self._length += len(data)
        self._parser.receive_data(data)
        try:
            event = self._parser.next_event()
        except h11.RemoteProtocolError as error:
            # After a colon the library quotes the malformed line, which may contain a secret.
            what = str(error).partition(":")[0]
            text = f"The request cannot be read: {what}."
            raise BadRequest(error.error_status_hint, text) from None
        if isinstance(event, h11.Request):
            surplus = self._parser.trailing_data[0]
            if self._length - len(surplus) > MAX_HEAD:  # h11 limits only incomplete heads
                raise BadRequest(431, "The request head is too large.")
            return _request(event, surplus)
        if event is not h11.NEED_DATA:
            raise RequestAbandoned("the peer sent no request")
        return None


async def read_request(stream: trio.abc.ReceiveStream, timeout: float) -> Request:
    """Read a request head within `timeout` seconds. Raises as `RequestReader.read`."""
    return await RequestReader(stream).read(timeout)


async def send_response(
    stream: trio.abc.SendStream,
    response: Response,
    timeout: float,
    *,
    head: bool = False,
    version: str = "1.0",
) -> None:
    """Send a response to a request of HTTP/`version`.

    Each write may take `timeout` seconds. If one takes longer, or the connection is lost, the rest
    is not sent, and nothing is raised. With `head` the header fields are sent as for GET, without
    the body. An exception of a ByteStream is passed on; the body then ends incomplete.
    """
    try:
        if isinstance(response.body, str):
            await _send(stream, _encode(response, response.body, head=head), timeout)
        else:
            async with aclosing(response.body.chunks):
                await _send_stream(stream, response, response.body, timeout, head, version)
    except _PeerGoneError:
        pass  # the response cannot be delivered


class _PeerGoneError(Exception):
    """The connection is lost, or the peer did not read in time."""


async def _send(stream: trio.abc.SendStream, data: bytes, timeout: float) -> None:
    try:
        with trio.fail_after(timeout):
            await stream.send_all(data)
    except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
        raise _PeerGoneError from None


def _encode(response: Response, text: str, *, head: bool) -> bytes:
    """The complete response with the string body `text`."""
    plain = "Content-Type" not in response.headers
    # A path that is not UTF-8 has surrogates, which are sent as the log shows them: \udcff.
    body = text.encode(errors="backslashreplace") + (b"\n" if plain else b"")
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        **_COMMON,
        **response.headers,
    }
    if response.status == HTTPStatus.NOT_MODIFIED:
        body = b""
        del headers["Content-Type"], headers["Content-Length"]
    data = h11.Connection(h11.SERVER).send(_head(response.status, headers))
    return (data or b"") + (b"" if head else body)


async def _send_stream(
    stream: trio.abc.SendStream,
    response: Response,
    body: ByteStream,
    timeout: float,
    head: bool,
    version: str,
) -> None:
    headers = {"Content-Type": "application/octet-stream", **_COMMON, **response.headers}
    if body.length is not None:
        headers["Content-Length"] = str(body.length)
    writer = h11.Connection(h11.SERVER)
    # h11 chooses the framing of a body by the method and version of the request that it has read.
    method = "HEAD" if head else "GET"
    writer.receive_data(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    writer.next_event()
    await _send(stream, writer.send(_head(response.status, headers)) or b"", timeout)
    if not head:
        async for chunk in body.chunks:
            await _send(stream, writer.send(h11.Data(chunk)) or b"", timeout)
    await _send(stream, writer.send(h11.EndOfMessage()) or b"", timeout)


_COMMON: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


def _head(status: int, headers: Mapping[str, str]) -> h11.Response:
    phrase = HTTPStatus(status).phrase.encode()
    return h11.Response(status_code=status, headers=list(headers.items()), reason=phrase)


def _request(event: h11.Request, surplus: bytes) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        event.method.decode("ascii"),
        event.target.decode("latin-1"),
        headers,
        surplus,
        event.http_version.decode("ascii"),
    )
