"""The peer of a connection: its name in the log, and the network that limits apply to."""

import socket

from attrs import frozen

from .addresses import UNIX_PEER, TcpAddress, network_of, unmapped


@frozen
class Peer:
    """A client. `name` is its name in the log, `user` its user name if it has no credential.

    Connections and failures are counted for each `network`: an IPv4 address, the /64 of an IPv6
    address, or "unix" for all peers on unix sockets.
    """

    name: str
    user: str
    network: str

    @classmethod
    def of(cls, connected: socket.socket) -> "Peer":
        """The peer of a socket. Raises OSError if the socket is no longer connected."""
        address = connected.getpeername()
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
        """Whether the peer is connected over a unix socket, so that it has no IP address."""
        return self.network == UNIX_PEER

    @classmethod
    def behind_proxy(cls, host: str) -> "Peer":
        """The client that a proxy reports at the address `host`; its port is not known."""
        return cls(host, host, network_of(host))
