"""Limits on simultaneous connections: in total, and for each network."""

from enum import Enum, auto
from typing import Final

from galileod.net.settings import Server

MAX_REFUSING: Final = 64
"""Maximum simultaneous connections above the limits that get a response; others are closed without
one."""

_ALL: Final = "all"


class Cap:
    """Counts the blocks under `hold` for each key, up to a limit."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def held(self, key: str) -> int:
        """How many blocks run now for `key`."""
        return self._held.get(key, 0)

    def hold(self, key: str | None, limit: int) -> "Hold":
        """Count a block for `key` while it runs; its `with` gives True.

        If `limit` blocks run already, it is not counted, and the `with` gives False. With a `key`
        of None nothing is counted, and it gives True.
        """
        return Hold(self, key, limit)

    def take(self, key: str | None, limit: int) -> bool:
        """Count one for `key` until it is released; False, and not counted, above the limit."""
        if key is None:
            return True
        held = self._held.get(key, 0)
        if held >= limit:
            return False
        self._held[key] = held + 1
        return True

    def release(self, key: str | None) -> None:
        """Count one less for `key`."""
        if key is not None:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


class Hold:
    """A block that is counted. Not a generator, which takes four times as long."""

    def __init__(self, cap: Cap, key: str | None, limit: int) -> None:
        self._cap = cap
        self._key = key
        self._limit = limit
        self._taken = False

    def __enter__(self) -> bool:
        self._taken = self._cap.take(self._key, self._limit)
        return self._taken

    def __exit__(self, *_exc_info: object) -> None:
        if self._taken:
            self._cap.release(self._key)


class Admission(Enum):
    """How a connection is treated under the limits."""

    ADMITTED = auto()
    REFUSED = auto()
    """A limit is reached: the response has status 503."""
    DROPPED = auto()
    """A limit is reached, and MAX_REFUSING connections are being refused: closed without a
    response."""


class ConnectionCaps:
    """All limits on connections.

    The limit for each network does not apply to a network of None: unix sockets and proxies.
    """

    def __init__(self) -> None:
        self._all = Cap()
        self._per_network = Cap()
        self._refusing = Cap()

    @property
    def open(self) -> int:
        """Open connections that count for `server.max_connections`."""
        return self._all.held(_ALL)

    def admit(self, network: str | None, limits: Server) -> "Admitting":
        """Count a connection from `network` while a block runs; its `with` gives an Admission."""
        return Admitting(self._all, self.count(network, limits), self._refusing, limits)

    def count(self, network: str | None, limits: Server) -> Hold:
        """Count a connection for `network` while the block runs; gives False above the limit.

        Direct connections, and those through proxies that name the client in a PROXY header, in
        X-Forwarded-For or in Forwarded, share one count and one limit for each network.
        """
        return self._per_network.hold(network, limits.max_connections_per_address)


class Admitting:
    """A block that is counted as a connection."""

    def __init__(self, total: Cap, network: Hold, refusing: Cap, limits: Server) -> None:
        self._total = total.hold(_ALL, limits.max_connections)
        self._network = network
        self._refusing = refusing.hold(None, 0)
        self._refusing_cap = refusing

    def __enter__(self) -> Admission:
        one, other = self._total.__enter__(), self._network.__enter__()
        if one and other:
            return Admission.ADMITTED
        self._refusing = self._refusing_cap.hold(_ALL, MAX_REFUSING)
        return Admission.REFUSED if self._refusing.__enter__() else Admission.DROPPED

    def __exit__(self, *_exc_info: object) -> None:
        self._total.__exit__()
        self._network.__exit__()
        self._refusing.__exit__()
