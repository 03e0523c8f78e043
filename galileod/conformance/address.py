"""Connecting to the server under test."""

import re
import ssl
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from galileod.conformance.handshake import (
    HandshakeError,
    Headers,
    Refused,
    request_upgrade,
)
from galileod.conformance.judge import KitError

MAX_LABEL: Final = 64
"""Characters that a part of a host's name must not have."""

_PORTS: Final = {"ws": 80, "wss": 443}


@attrs.frozen
class Address:
    """A URL with the scheme ws or wss."""

    url: str
    tls: bool
    host: str
    port: int
    target: str
    """Path and query."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parse a URL. Raises ValueError, with a sentence for people."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError(f"{url!r} has no scheme ws:// or wss://")
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host")
        if parts.username is not None:
            raise ValueError("a user name in the URL is not supported")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError(f"{url!r} has characters that must be percent-encoded")
        if any(not 0 < len(label) < MAX_LABEL for label in parts.hostname.rstrip(".").split(".")):
            raise ValueError(f"{url!r} has a host with a part of no or too many characters")
        host = parts.hostname
        if ":" in host:
            host = re.sub("%25(?=.)", "%", host)  # a zone: RFC 6874, section 2
        port = parts.port or _PORTS[parts.scheme]
        query = f"?{parts.query}" if parts.query else ""
        return cls(url, parts.scheme == "wss", host, port, (parts.path or "/") + query)

    @property
    def public(self) -> str:
        """The URL without its query, which may hold a credential."""
        return self.url.split("?", 1)[0]

    @property
    def name(self) -> str:
        """The host without the zone of an IPv6 address, which has a meaning here only."""
        return self.host.partition("%")[0] if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """The value of Host."""
        host = f"[{self.name}]" if ":" in self.name else self.name
        return host if self.port == _PORTS["wss" if self.tls else "ws"] else f"{host}:{self.port}"


async def open_stream(address: Address, within: float) -> trio.abc.Stream:
    """A connection to the server, before the WebSocket handshake. Raises KitError."""
    try:
        with trio.fail_after(within):
            stream: trio.abc.Stream = await trio.open_tcp_stream(address.host, address.port)
            if address.tls:
                stream = await _secure(stream, address.name)
    except trio.BrokenResourceError as error:  # of trio's TLS, whose cause has the words
        raise KitError(f"cannot connect to {address.public}: TLS: {error.__cause__}") from None
    except OSError as error:  # ssl.SSLError is one
        raise KitError(f"cannot connect to {address.public}: {error}") from None
    except trio.TooSlowError:
        raise KitError(f"cannot connect to {address.public} within {within:g} s") from None
    return stream


async def _secure(stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
    context = ssl.create_default_context()
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


async def open_websocket(
    address: Address, headers: Headers, within: float
) -> tuple[trio.abc.Stream, bytes]:
    """A connection after its handshake, and the bytes behind it.

    Raises Refused, HandshakeError and KitError.
    """
    stream = await open_stream(address, within)
    try:
        with trio.fail_after(within):
            rest = await request_upgrade(stream, address.authority, address.target, headers)
    except trio.TooSlowError:
        await trio.aclose_forcefully(stream)
        raise KitError(f"{address.public} does not answer the handshake in {within:g} s") from None
    except (HandshakeError, Refused):
        await trio.aclose_forcefully(stream)
        raise
    return stream, rest
