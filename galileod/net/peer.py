"""The peer of a connection: how the log names it, and which network it is counted under."""

import trio
from attrs import frozen

from .addresses import UNIX_PEER, TcpAddress, network_of, unmapped


@frozen
class Peer:
    """A client. `name` is for the log, `user` is the name of a client without credentials.

    `network` is under which failures are counted: an IPv4 address, the /64 of an IPv6 address, or
    "unix" for all peers of unix sockets.
    """

    name: str
    user: str
    network: str

    @classmethod
    def of(cls, stream: trio.SocketStream) -> "Peer":
        """The peer of a socket. Raises OSError if the socket is no longer connected."""
        address = stream.socket.getpeername()
        if not isinstance(address, tuple):
            return cls(UNIX_PEER, UNIX_PEER, UNIX_PEER)
        return cls.at(TcpAddress(*address[:2]))

    @classmethod
    def at(cls, address: TcpAddress) -> "Peer":
        """The peer at `address`; an IPv4-mapped IPv6 address is written as the IPv4 address."""
        host = unmapped(address.host)
        return cls(str(TcpAddress(host, address.port)), host, network_of(host))

    @property
    def is_local(self) -> bool:
        """Whether the peer is on a unix socket, and so on this machine, without an address."""
        return self.network == UNIX_PEER

    @classmethod
    def behind_proxy(cls, host: str) -> "Peer":
        """The client at the address `host`, whose port the proxy does not pass on."""
        return cls(host, host, network_of(host))
