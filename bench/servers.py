"""Starts the servers that are compared ("peers"), and connects to them.

Each has its own directory, and stores files in `store` below it.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients import close_websocket, galileosend
from connection import Connection, Exchange, Part
from processes import free_port, running
from stored import Void, check_and_remove
from tls_client import TlsConnection

Command = Sequence[str | Path]
Start = Callable[[Connection], Exchange]
"""Starts an exchange on a new connection."""

OTHER = "other galileod"


@dataclass(frozen=True)
class Setup:
    """How to start a server: in the directory `place`, on `port`."""

    place: Path
    port: int
    durability: str = "none"
    certificate: Path | None = None
    """With TLS: the certificate and its key. Only galileod and nginx support it."""
    aside: Path | None = None
    """Where stored files go that were verified; None: they are removed. See `check_and_remove`."""

    @property
    def store(self) -> Path:
        """The directory of the stored files."""
        return self.place / "store"


def _check_files(setup: Setup, parts: Sequence[Part]) -> None:
    check_and_remove(setup.store, parts, setup.aside)


@dataclass(frozen=True)
class Peer:
    """A server to measure; `command` returns the command to start it."""

    name: str
    command: Callable[[Setup], Command]
    upload: Callable[[Connection, Part], Exchange]
    missing: str = ""
    """The reason why it is not available; empty if it is."""
    check: Callable[[Setup, Sequence[Part]], None] = _check_files
    """Verifies and removes what it has stored: by default, the files in its directory."""

    @property
    def is_websocket(self) -> bool:
        """Whether a connection to it ends with a Close frame."""
        return self.upload is galileosend

    @contextmanager
    def started(
        self,
        place: Path,
        durability: str = "none",
        certificate: Path | None = None,
        aside: Path | None = None,
    ) -> Iterator["Running"]:
        """Start the server on a free port, in the directory `place`, which is removed at the end.

        If the server does not start, `failure` of the result has the reason.
        """
        setup = Setup(place, free_port(), durability, certificate, aside)
        setup.store.mkdir(parents=True)
        log, pid, failure = place / "log", 0, ""
        try:
            with ExitStack() as stack:
                try:
                    pid = stack.enter_context(running(self.command(setup), log, setup.port))
                except (OSError, RuntimeError) as error:
                    failure = f"it does not start: {error}"
                yield Running(self, setup, pid, log, failure)
        finally:
            shutil.rmtree(place)


@dataclass(frozen=True)
class Running:
    """A running server. If it did not start, `failure` is the reason, and `connect` raises Void."""

    peer: Peer
    setup: Setup
    pid: int
    log: Path
    failure: str

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""
        return self.setup.port

    @property
    def store(self) -> Path:
        """The directory of the stored files."""
        return self.setup.store

    def connect(self, port: int | None = None) -> Connection:
        """Connect to the server, or to a proxy for it on `port`. Raises Void if it has failed."""
        if self.failure:
            raise Void(self.failure)
        kind = TlsConnection if self.setup.certificate else Connection
        return kind(("127.0.0.1", port or self.port))

    def close(self, connection: Connection) -> Exchange:
        """Close a connection, with a Close frame if it is a WebSocket."""
        if self.peer.is_websocket:
            yield from close_websocket(connection)

    def closing(self, exchange: Start) -> Start:
        """An exchange that closes the connection, too."""

        def whole(connection: Connection) -> Exchange:
            yield from exchange(connection)
            yield from self.close(connection)

        return whole

    def check_and_remove(self, parts: Sequence[Part]) -> None:
        """See `check_and_remove` for what is stored. Raises Void."""
        self.peer.check(self.setup, parts)


def available(peers: Sequence[Peer]) -> list[Peer]:
    """The peers that are available."""
    return [peer for peer in peers if not peer.missing]


def galileod_builds(peers: Sequence[Peer]) -> list[Peer]:
    """The peers that are builds of galileod."""
    return [peer for peer in peers if peer.name in ("galileod", OTHER)]
