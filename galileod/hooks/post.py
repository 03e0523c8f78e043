"""The hook as a URL: the receipt is posted, the status is the answer."""

import base64
import hashlib
import hmac
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
"""Bytes in the file of the secret; a hash function takes in 64 of them at once."""

_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


async def post(
    url: str, receipt: bytes, number: str, secret_file: str | None, timeout: float
) -> None:
    """Raises HookError unless the answer comes within `timeout` seconds, and is 2xx.

    `number` is the receipt's `id`, by which one that comes twice is known. Of the answer no more is
    read than its head, which httpcore bounds at 100 KiB; no redirect is followed.
    """
    secret = None
    if secret_file is not None:
        secret = await trio.to_thread.run_sync(read_secret, secret_file)
    headers = make_headers(url, receipt, number, secret, int(time.time()))
    # Reading the authorities takes a tenth of a second, in which no upload would go on.
    tls = await trio.to_thread.run_sync(_tls) if urlsplit(url).scheme == "https" else None
    try:
        with trio.fail_after(timeout):
            # A connection for each attempt: one that was kept may be gone when it is needed.
            async with (
                httpcore.AsyncConnectionPool(ssl_context=tls) as pool,
                pool.stream("POST", url, headers=headers, content=receipt) as response,
            ):
                status = response.status
    except trio.TooSlowError:
        raise HookError(f"no answer within {timeout:g} seconds") from None
    except _FAILURES as error:
        raise HookError(f"the request failed: {_first_cause(error)}") from None
    if not 200 <= status < 300:  # noqa: PLR2004  RFC 9110, section 15.3
        raise HookError(f"the answer is HTTP {status}")


def make_headers(
    url: str, receipt: bytes, number: str, secret: bytes | None, now: int
) -> dict[bytes | str, bytes | str]:
    """What goes with the receipt; `now` is the time in seconds since 1970, which is signed too."""
    headers: dict[bytes | str, bytes | str] = {
        "Host": urlsplit(url).netloc.rpartition("@")[2],
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


def read_secret(path: str) -> bytes:
    """The key for the signature: the file without the line's end. Blocks. Raises HookError.

    It is read for each attempt, so that a new one holds at once.
    """
    try:
        secret = read_secret_file(path)
    except SecretFileError as error:
        raise HookError(f"hooks.secret_file: {error}") from None
    if len(secret) > MAX_SECRET or not secret.strip():
        raise HookError(f"hooks.secret_file: {path}: expected a text of up to {MAX_SECRET} bytes")
    return secret.rstrip(b"\r\n")


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities, which the administrator may have added to; read once."""
    return ssl.create_default_context()


def _first_cause(error: BaseException) -> str:
    """What the network said at first; the wrappings around it say less, and hide it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        # A group where the host has several addresses.
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
    return str(error) or type(error).__name__
