"""The start of a connection, before its request: a PROXY protocol header, and TLS."""

import ssl
from collections.abc import Collection

import trio
from attrs import define

from galileod.net.addresses import Network, is_trusted
from galileod.net.http11 import RequestAbandoned
from galileod.net.peer import Peer
from galileod.net.proxyproto import HEAD, ProxyHeaderError, client_of, is_over_tls, length_of
from galileod.net.tls import accept_tls


@define
class Incoming:
    """A connection before its request.

    `deadline`, in seconds of trio's clock, applies to all steps up to the complete request head.
    `scheme` is "https" once TLS is used, by the client or between it and a trusted proxy that says
    so in its PROXY header, else "http".
    """

    stream: trio.abc.HalfCloseableStream
    peer: Peer
    deadline: float
    scheme: str = "http"

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - trio.current_time())

    async def read_proxy_header(self, trusted: Collection[Network]) -> None:
        """Read a PROXY protocol header, and set `peer` and `scheme` to those of its client.

        Every peer on a unix socket is trusted. No byte after the header is read. Raises
        ProxyHeaderError if the peer is not trusted, or the header is invalid or late, and
        RequestAbandoned if the connection ends before that.
        """
        if not self.peer.is_local and not is_trusted(self.peer.user, trusted):
            raise ProxyHeaderError("the peer is not in server.trusted_proxies")
        try:
            with trio.fail_after(self.seconds_left):
                head = await self._read(HEAD)
                rest = await self._read(length_of(head))
        except trio.TooSlowError:
            raise ProxyHeaderError("the PROXY protocol header was not complete in time") from None
        except trio.BrokenResourceError:
            raise RequestAbandoned("the connection was lost") from None
        if (client := client_of(head, rest)) is not None:
            self.peer = Peer.at(client)
        if is_over_tls(head, rest):
            self.scheme = "https"

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake; after it `stream` is the TLS stream.

        Raises HandshakeError if it fails, and RequestAbandoned if the peer closed the connection.
        """
        self.stream = await accept_tls(self.stream, context, self.seconds_left)
        self.scheme = "https"

    async def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more = await self.stream.receive_some(length - len(data))
            if not more:
                raise RequestAbandoned("the proxy closed the connection within its header")
            data += more
        return bytes(data)
