"""Limits of how many connections there are at once: in all, and for each network."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from galileod.net.settings import Server

MAX_REFUSING: Final = 64
"""Connections above the limits that get a response; further ones are closed without one."""

_ALL: Final = "all"


class Cap:
    """Counts what is held at once for each key, up to a limit."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def held(self, key: str) -> int:
        """How many are held now."""
        return self._held[key]

    @contextmanager
    def hold(self, key: str | None, limit: int) -> Iterator[bool]:
        """Hold one for `key`; False if `limit` are held already. With None nothing is counted."""
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
    """Whether there is room for a connection."""

    ADMITTED = auto()
    REFUSED = auto()
    """It gets a response that says so."""
    DROPPED = auto()
    """It is closed without a response, since too many others wait for theirs."""


class ConnectionCaps:
    """All limits of connections. A network of None is not limited: a unix socket, or a proxy."""

    def __init__(self) -> None:
        self._all = Cap()
        self._per_network = Cap()
        self._refusing = Cap()

    @property
    def open(self) -> int:
        """How many connections count for `server.max_connections` now."""
        return self._all.held(_ALL)

    @contextmanager
    def admit(self, network: str | None, limits: Server) -> Iterator[Admission]:
        """Count a connection from `network` until it is closed."""
        with (
            self._all.hold(_ALL, limits.max_connections) as one,
            self.count(network, limits) as other,
            self._refusing.hold(None if one and other else _ALL, MAX_REFUSING) as answered,
        ):
            if not answered:
                yield Admission.DROPPED
            else:
                yield Admission.ADMITTED if one and other else Admission.REFUSED

    @contextmanager
    def count(self, network: str | None, limits: Server) -> Iterator[bool]:
        """Count a connection for `network`, such as the client that a proxy names; False if full.

        One count serves the networks of sockets, of PROXY headers and of X-Forwarded-For: however
        its connections come, a client has no more of them.
        """
        with self._per_network.hold(network, limits.max_connections_per_address) as admitted:
            yield admitted
