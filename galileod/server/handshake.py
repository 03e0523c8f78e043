"""What precedes the first request of a connection: a PROXY protocol header, and TLS."""

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
    """A connection before its request. `deadline` is for all steps up to the whole request head.

    `scheme` is that of the URLs that clients connect by.
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
        """Read a PROXY protocol header; the client that it names is the peer from then on.

        Every peer on a unix socket is trusted. No byte after the header is read. Raises
        ProxyHeaderError, RequestAbandoned.
        """
        if not self.peer.is_local and not is_trusted(self.peer.user, trusted):
            raise ProxyHeaderError("the peer is not in server.trusted_proxies")
        try:
            with trio.fail_after(self.seconds_left):
                head = await self._read(HEAD)
                rest = await self._read(length_of(head))
        except trio.TooSlowError:
            raise ProxyHeaderError("the PROXY protocol header was not whole in time") from None
        except trio.BrokenResourceError:
            raise RequestAbandoned("the connection was lost") from None
        if (client := client_of(head, rest)) is not None:
            self.peer = Peer.at(client)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake; `stream` is encrypted from then on.

        Raises HandshakeError, RequestAbandoned.
        """
        self.stream = await accept_tls(self.stream, context, self.seconds_left)
        self.scheme = "https"

    async def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more = await self.stream.receive_some(length - len(data))
            if not more:
                raise RequestAbandoned("the proxy left within its header")
            data += more
        return bytes(data)
