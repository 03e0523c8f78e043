"""A URL as the hook: the receipt is the body of a POST, the status of the response the result.

If it is asked, the body of the response is the answer.
"""

import base64
import hashlib
import hmac
import re
import ssl
import time
from functools import cache
from typing import Final
from urllib.parse import unquote, urlsplit

import httpcore
import trio

from galileod import __version__
from galileod.secretfile import SecretFileError, read_secret_file

from .settings import HookError

MAX_SECRET: Final = 4096
"""Maximum bytes of a secret."""

OK: Final = 200
ANSWERED: Final = (OK, 204)
SUCCESSFUL: Final = range(200, 300)
"""Statuses of RFC 9110, section 15.3."""

_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


async def post(
    url: str,
    receipt: bytes,
    number: str,
    secret_file: str | None,
    timeout: float,
    most: int | None = None,
) -> bytes:
    """Send the receipt. Raises HookError unless the response is 2xx within `timeout` seconds.

    `number` is the `id` of the receipt, by which the receiver recognizes a repetition. If
    `secret_file` is set, the request is signed with the secret in it. Redirects are not followed.
    Of the response, only the head is read, which httpcore limits to 100 KiB. With `most`, the
    response must be 200, or 204 without content; its body is returned, and may have that many
    bytes.
    """
    secret = None
    if secret_file is not None:
        secret = await trio.to_thread.run_sync(read_secret, secret_file)
    destination = _destination(url)
    headers = make_headers(url, receipt, number, secret, int(time.time()))
    # Reading the system's certificates takes 0.1 s, which must not block the event loop.
    tls = await trio.to_thread.run_sync(_tls) if urlsplit(url).scheme == "https" else None
    try:
        with trio.fail_after(timeout):
            # A new connection for each attempt: the server may have closed an idle one.
            async with (
                httpcore.AsyncConnectionPool(ssl_context=tls) as pool,
                pool.stream("POST", destination, headers=headers, content=receipt) as response,
            ):
                status = response.status
                answer = await _read(response, most) if status == OK and most is not None else b""
    except trio.TooSlowError:
        raise HookError(f"no response within {timeout:g} seconds") from None
    except _FAILURES as error:
        raise HookError(f"the request failed: {_first_cause(error)}") from None
    if status not in (SUCCESSFUL if most is None else ANSWERED):
        raise HookError(f"the response is HTTP {status}")
    return answer


async def _read(response: httpcore.Response, most: int) -> bytes:
    """The body of a response."""
    body = bytearray()
    # Cancelled, not left: httpcore's nested generators would only be closed by the collector.
    with trio.CancelScope() as reading:
        async for data in response.aiter_stream():
            body += data
            if len(body) > most:
                reading.cancel()
    if len(body) > most:
        raise HookError(f"the response has more than {most} bytes")
    return bytes(body)


def make_headers(
    url: str, receipt: bytes, number: str, secret: bytes | None, now: int
) -> dict[bytes | str, bytes | str]:
    """The header fields of the request.

    With a `secret`, the receipt and `now` (seconds since the epoch) are signed.
    """
    headers: dict[bytes | str, bytes | str] = {
        # The zone of an IPv6 address has a meaning on this machine only (RFC 6874, section 3).
        "Host": re.sub(r"%[^]]*(?=])", "", urlsplit(url).netloc.rpartition("@")[2]),
        "User-Agent": f"galileod/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(receipt)),
        "Connection": "close",
        "Idempotency-Key": number,
    }
    if secret is not None:
        signature = hmac.new(secret, b"%d." % now + receipt, hashlib.sha256).hexdigest()
        headers["X-Galileod-Timestamp"] = str(now)
        headers["X-Galileod-Signature"] = f"sha256={signature}"
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    if at:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return headers


def _destination(url: str) -> httpcore.URL:
    """The URL with the zone of an IPv6 address as the resolver expects it (RFC 6874, section 2)."""
    destination = httpcore.URL(url)
    if b":" in destination.host:
        destination.host = re.sub(b"%25(?=.)", b"%", destination.host)
    return destination


def read_secret(path: str) -> bytes:
    """The secret in the file `path`, without the newline at its end. Blocks.

    Each attempt reads it again, so that a new secret takes effect at once. Raises HookError if the
    file cannot be used, or the secret is empty or too long.
    """
    try:
        secret = read_secret_file(path)
    except SecretFileError as error:
        raise HookError(f"hooks.secret_file: {error}") from None
    if len(secret) > MAX_SECRET or not secret.strip():
        raise HookError(f"hooks.secret_file: {path}: expected 1 to {MAX_SECRET} bytes")
    return secret.rstrip(b"\r\n")


@cache
def _tls() -> ssl.SSLContext:
    """A client's TLS context with the certificate authorities of the system."""
    return ssl.create_default_context()


def _first_cause(error: BaseException) -> str:
    """The message of the innermost cause, which is the most specific one."""
    while (cause := error.__cause__ or error.__context__) is not None:
        # The cause is a group if the host has several addresses.
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
    return str(error) or type(error).__name__
