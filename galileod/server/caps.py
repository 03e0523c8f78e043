"""Limits on simultaneous connections: in total, and for each network."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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
        self._held: Counter[str] = Counter()

    def held(self, key: str) -> int:
        """How many blocks run now for `key`."""
        return self._held[key]

    @contextmanager
    def hold(self, key: str | None, limit: int) -> Iterator[bool]:
        """Count a block for `key` while it runs; yields True.

        If `limit` blocks run already, it is not counted, and False is yielded. With a `key` of None
        nothing is counted, and True is yielded.
        """
        if key is not None and self._held[key] >= limit:
            yield False
            return
        if key is not None:
            self._held[key] += 1
        try:
            yield True
        finally:
            if key is not None:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]


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

    @contextmanager
    def admit(self, network: str | None, limits: Server) -> Iterator[Admission]:
        """Count a connection from `network` while the block runs."""
        with (
            self._all.hold(_ALL, limits.max_connections) as one,
            self.count(network, limits) as other,
            self._refusing.hold(None if one and other else _ALL, MAX_REFUSING) as answered,
        ):
            if not answered:
                yield Admission.DROPPED
            else:
                yield Admission.ADMITTED if one and other else Admission.REFUSED

    def count(self, network: str | None, limits: Server) -> AbstractContextManager[bool]:
        """Count a connection for `network` while the block runs; yields False above the limit.

        Direct connections, and those through proxies that name the client in a PROXY header, in
        X-Forwarded-For or in Forwarded, share one count and one limit for each network.
        """
        return self._per_network.hold(network, limits.max_connections_per_address)
