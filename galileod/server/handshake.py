"""The way in, ahead of the first request: who calls, whom a proxy announces, and TLS."""

import ssl
from collections.abc import Collection

import trio
from attrs import define

from galileod.net.addresses import Network, is_trusted
from galileod.net.http11 import RequestAbandoned
from galileod.net.peer import Peer
from galileod.net.proxyproto import HEAD, ProxyHeaderError, client_of, length_of
from galileod.net.tls import accept_tls


@define
class Incoming:
    """A connection that comes in: what is spoken on, by whom, and until when all of it may take.

    `scheme` is that of URLs for which one speaks so.
    """

    stream: trio.abc.HalfCloseableStream
    peer: Peer
    deadline: float
    scheme: str = "http"

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.deadline - trio.current_time())

    async def hear_proxy(self, trusted: Collection[Network]) -> None:
        """Let the proxy that connected say for whom; that one is the peer from then on.

        Whoever may connect to a unix socket that is marked is trusted. Not one byte behind the
        header is read. Raises ProxyHeaderError, RequestAbandoned.
        """
        if self.peer.network is not None and not is_trusted(self.peer.user, trusted):
            raise ProxyHeaderError("the peer is not in server.trusted_proxies")
        try:
            with trio.fail_after(self.left):
                head = await self._read(HEAD)
                rest = await self._read(length_of(head))
        except trio.TooSlowError:
            raise ProxyHeaderError("the PROXY protocol header was not whole in time") from None
        except trio.BrokenResourceError:
            raise RequestAbandoned("the connection was lost") from None
        if (client := client_of(head, rest)) is not None:
            self.peer = Peer.at(client)

    async def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on. Raises HandshakeError, RequestAbandoned."""
        self.stream = await accept_tls(self.stream, context, self.left)
        self.scheme = "https"

    async def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more = await self.stream.receive_some(length - len(data))
            if not more:
                raise RequestAbandoned("the proxy left within its header")
            data += more
        return bytes(data)
