"""From an address to a byte stream: TCP or a unix socket, a proxy's CONNECT, TLS."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from functools import lru_cache

import trio

from .address import Address, Proxy, find_proxy
from .errors import ConnectError, OptionError
from .handshake import connect_through
from .line import Line, Silence

UNSENT = 256 * 1024
"""Bytes that the kernel holds unsent before it calls a socket full. Trio sets 16 KiB, which costs a
turn of its loop for each of them; more than this would only sit in the way of a Close."""


UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's numbers for a certificate that nobody trusted has signed (X509_V_ERR)."""


async def dial(address: Address, ca: str | None, silence: Silence) -> trio.abc.Stream:
    """A connection to the server, over which HTTP may begin. Raises ConnectError."""
    proxy = find_proxy(address, os.environ)
    stream: trio.abc.Stream = await _open(address, proxy, silence)
    try:
        if proxy:
            if proxy.secure:
                stream = await _wrap(stream, ca, proxy.host, f"the proxy {proxy}")
            await connect_through(stream, proxy, address.host, address.port)
        if address.secure:
            stream = await _wrap(stream, ca, address.host, str(address))
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _open(address: Address, proxy: Proxy | None, silence: Silence) -> Line:
    what = f"the proxy {proxy}" if proxy else str(address)
    try:
        if address.unix:
            return Line(await trio.open_unix_socket(address.unix), silence)
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise _explained(what, error) from None
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    return Line(stream, silence)


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Trust in the authorities of a PEM file (None: the system's). Raises OptionError."""
    try:
        return _context(ca, os.stat(ca).st_mtime_ns if ca else 0)
    except OSError as error:
        reason = (
            "there is no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        )
        raise OptionError(f"The certificates in {ca} cannot be used: {reason}.") from None


@lru_cache(maxsize=4)
def _context(ca: str | None, _changed: int) -> ssl.SSLContext:
    # Reading the system's roots takes as long as the upload of a small file.
    return ssl.create_default_context(cafile=ca)


async def _wrap(stream: trio.abc.Stream, ca: str | None, host: str, what: str) -> trio.abc.Stream:
    context = tls_context(ca)
    # HTTPS-compatible: a peer may close without the goodbye of TLS; WebSocket has its own.
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = f"The certificate of {what} is not trusted: {cause.verify_message}."
            raise ConnectError(said + _advice(cause, ca), transient=False) from None
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            reason = (cause.reason or "unknown").lower().replace("_", " ")
            raise ConnectError(
                f"TLS with {what} failed: {reason}. If no TLS is spoken there, take ws.",
                transient=False,
            ) from None
        raise ConnectError(f"{what} closed the connection while TLS began.") from None
    return secured


def _advice(error: ssl.SSLCertVerificationError, ca: str | None) -> str:
    if error.verify_code not in UNKNOWN_AUTHORITY:
        return ""
    if ca is None:
        return " If it is your own, name its authority with --ca."
    return f" What signed it is not in {ca}."


def _explained(what: str, error: OSError) -> ConnectError:
    """The sentence for a connection that did not come about; the text of trio's says less."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            # EAI_AGAIN is a name server that did not answer; the others are answers.
            return ConnectError(
                f"The name of {what} does not resolve: {cause.strerror}.",
                transient=cause.errno == socket.EAI_AGAIN,
            )
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers <= {errno.ECONNREFUSED, None} and errno.ECONNREFUSED in numbers:
        return ConnectError(f"Nobody listens on {what}. Does the server run there?")
    if errno.ENOENT in numbers:
        return ConnectError(f"There is no socket at {what}. Does the server run?")
    if errno.EACCES in numbers or errno.EPERM in numbers:
        return ConnectError(f"You may not connect to {what}.", transient=False)
    said = sorted({os.strerror(number) for number in numbers if number})
    return ConnectError(f"There is no way to {what}: {', '.join(said) or error}.")


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    """What stands behind an error of trio's: one, or one for each address that it tried."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    elif isinstance(error, OSError) and error.errno is None and error.__cause__:
        yield from _leaves(error.__cause__)
    elif error is not None:
        yield error
