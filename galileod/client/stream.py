"""Opens the byte stream to a server: TCP or a unix socket, a proxy (CONNECT), TLS."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from functools import lru_cache, partial

import trio

from .address import Address, Proxy, find_proxy, without_zone
from .errors import ConnectError, OptionError
from .handshake import capitalized, connect_through
from .idle import IdleTimeout, WatchedStream

NOTSENT_LOWAT = 256 * 1024
"""Unsent bytes in the kernel below which the socket is writable (TCP_NOTSENT_LOWAT). trio sets
16 KiB, which costs an iteration of its event loop for each 16 KiB; a larger value than this would
delay a Close frame."""

UNKNOWN_CA_ERRORS = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes (X509_V_ERR) for a certificate whose issuer is unknown or not trusted."""


async def open_stream(
    address: Address, ca: str | None, idle: IdleTimeout, accepted: trio.Event
) -> trio.abc.Stream:
    """A stream to the server, ready for HTTP. `ca`: see `tls_context`. Raises ConnectError.

    `accepted` is set once the server, or the proxy, has accepted the connection.
    """
    proxy = find_proxy(address, os.environ)
    stream: trio.abc.Stream = await _connect(address, proxy, idle)
    accepted.set()
    try:
        if proxy:
            if proxy.secure:
                stream = await _start_tls(stream, ca, proxy.host, f"the proxy {proxy}")
            await connect_through(stream, proxy, address.host, address.port)
        if address.secure:
            stream = await _start_tls(stream, ca, address.host, f"the server at {address}")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _connect(address: Address, proxy: Proxy | None, idle: IdleTimeout) -> WatchedStream:
    peer = f"the proxy {proxy}" if proxy else f"the server at {address}"
    try:
        if address.unix:
            return WatchedStream(await trio.open_unix_socket(address.unix), idle)
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise _connect_error(peer, error) from None
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
    return WatchedStream(stream, idle)


def tls_context(ca: str | None) -> ssl.SSLContext:
    """The TLS context that trusts the CAs in the PEM file `ca`; if None, the system's.

    Raises OptionError for a file that cannot be used.
    """
    try:
        return _context(ca, os.stat(ca).st_mtime_ns if ca else 0)
    except OSError as error:
        reason = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise OptionError(f"The CA file {ca} cannot be used: {reason}.") from None


@lru_cache(maxsize=4)
def _context(ca: str | None, _mtime: int) -> ssl.SSLContext:
    # Cached: reading the system's CAs takes as long as the upload of a small file.
    return ssl.create_default_context(cafile=ca)


async def _start_tls(
    stream: trio.abc.Stream, ca: str | None, host: str, peer: str
) -> trio.abc.Stream:
    context = tls_context(ca)
    # HTTPS-compatible: a peer may close without close_notify; WebSocket has a Close frame.
    name = without_zone(host)  # certificates have no zones
    tls = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"The certificate of {peer} is not trusted: {cause.verify_message}."
            raise ConnectError(reason + _ca_hint(cause, ca), transient=False) from None
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            reason = (cause.reason or "unknown").lower().replace("_", " ")
            raise ConnectError(
                f"TLS with {peer} failed: {reason}. If it does not use TLS, use ws://.",
                transient=False,
            ) from None
        raise ConnectError(
            f"{capitalized(peer)} closed the connection during the TLS handshake."
        ) from None
    return tls


def _ca_hint(error: ssl.SSLCertVerificationError, ca: str | None) -> str:
    if error.verify_code not in UNKNOWN_CA_ERRORS:
        return ""
    if ca is None:
        return " If the server is your own, pass the certificate of its CA with --ca."
    return f" Its CA is not in {ca}."


def _connect_error(peer: str, error: OSError) -> ConnectError:
    """The error for a failed connection. trio raises a group of the errors of all addresses."""
    unreached = partial(ConnectError, unreached=True)
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror) and "%" in peer:
            return unreached(
                f"Cannot connect to {peer}: the address is not link-local, or its zone names no"
                " network interface of this machine.",
                transient=False,
            )
        if isinstance(cause, socket.gaierror):
            # EAI_AGAIN: the name server did not answer. The other codes are answers.
            return unreached(
                f"The host name of {peer} cannot be resolved: {cause.strerror}.",
                transient=cause.errno == socket.EAI_AGAIN,
            )
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers <= {errno.ECONNREFUSED, None} and errno.ECONNREFUSED in numbers:
        return unreached(f"Cannot connect to {peer}: connection refused. Is it running?")
    if errno.ENOENT in numbers:
        return unreached(f"Cannot connect to {peer}: there is no such socket. Is it running?")
    if errno.EACCES in numbers or errno.EPERM in numbers:
        return ConnectError(f"Cannot connect to {peer}: permission denied.", transient=False)
    reasons = sorted({os.strerror(number) for number in numbers if number})
    return unreached(f"Cannot connect to {peer}: {', '.join(reasons) or error}.")


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The causes of an error of trio: one, or one for each address that was tried."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    elif isinstance(error, OSError) and error.errno is None and error.__cause__:
        yield from _leaves(error.__cause__)
    elif error is not None:
        yield error
