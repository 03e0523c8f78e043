"""Benchmarks of resuming: what it costs an upload, and how long it takes to go on."""

import os
import secrets
import shutil
import socket
import sqlite3
import struct
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from clients import header, send_part, text, upgrade
from connection import Connection, Exchange, Part, run_blocking
from measure import Run, Settings, Subject, alternate, at_least, at_most, row, spread
from measure import table as as_table
from processes import cpu_seconds, free_port, running
from servers import Peer, Running, Setup, galileod_builds
from source_file import source
from stored import Void

MIB = 1 << 20

COST_TARGET = 0.98
"""Minimum rate of an upload that may be resumed, relative to one that may not."""

CUT_TARGET = 0.5
"""Maximum seconds from the reconnection to the first byte that may be sent."""

START_TARGET = 2.0
"""Maximum seconds for the same from the start of the daemon, with KEPT_GIB kept."""

KEPT_GIB = 20
"""GiB of the sparse file that is kept over a restart, of a file of one more GiB."""

BREAKS = 10
"""Breaks of which each run gives the longest time."""


def resume(settings: Settings, peers: Sequence[Peer]) -> str:
    """Uploads that may be resumed: their cost, and the time until they go on."""
    rows = []
    for peer in galileod_builds(peers)[:1]:
        rows += _cost(settings, peer, "tmpfs", settings.tmpfs)
        rows += _cost(settings, peer, "disk", settings.disk)
        rows += _times(settings, peer)
    return as_table(("what", "figure", "target", "MB/s", "CPU s/GiB"), rows)


def _cost(settings: Settings, peer: Peer, name: str, place: Path) -> list[list[str]]:
    with (
        source(settings.tmpfs, settings.scaled(1)) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=place) as folder,
        ExitStack() as stack,
    ):
        (whole,) = data.parts(1)
        server = stack.enter_context(peer.started(Path(folder) / "server", "full"))
        classic = Subject(f"classic, {name}", partial(_upload, server, whole, resumable=False))
        resumable = Subject(f"resumable, {name}", partial(_upload, server, whole, resumable=True))
        alternate("resume", [classic, resumable], settings)
    ratios = resumable.ratios_to(classic)
    rows = []
    for subject in (classic, resumable):
        own = ratios if subject is resumable else []
        target = at_least(COST_TARGET, own) if own else "-"
        rate, cpu = spread(subject.values("rate"), ".0f"), spread(subject.values("cpu_per_gib"))
        rows.append(row(subject, spread(own), target, rate, cpu))
    return rows


def _upload(server: Running, part: Part, *, resumable: bool) -> Run:
    before, began = cpu_seconds(server.pid), time.perf_counter()
    connection = server.connect()
    key = secrets.token_hex(16) if resumable else None
    run_blocking(_begin(connection, part, key))
    run_blocking(send_part(connection, part))
    seconds = time.perf_counter() - began
    run_blocking(server.close(connection))
    connection.socket.close()
    cpu = cpu_seconds(server.pid) - before
    server.check_and_remove([part])
    return Run(part.size, seconds, cpu)


def _begin(connection: Connection, part: Part, key: str | None) -> Exchange:
    """Upgrade, and send the metadata, with a key if the upload may be resumed."""
    yield from upgrade(connection)
    keys = {} if key is None else {"upload": key, "can": ["resume"]}
    yield from connection.send(text({"name": part.name, "size": part.size, **keys}))


def _times(settings: Settings, peer: Peer) -> list[list[str]]:
    with source(settings.tmpfs, settings.scaled(0.25)) as data:
        (part,) = data.parts(1)
        place = data.folder / "server"
        cut = Subject("a cut line", partial(_cut, peer, part, place))
        start = Subject(f"a start, {KEPT_GIB} GiB kept", partial(_start, peer, part, place))
        alternate("resume", [cut, start], settings)
    return [
        row(each, spread(values := each.values("first")), at_most(target, values), "-", "-")
        for each, target in ((cut, CUT_TARGET), (start, START_TARGET))
    ]


def _cut(peer: Peer, part: Part, place: Path) -> Run:
    """Break one upload off BREAKS times; `first` is the longest time until it went on."""
    key, longest, offset = secrets.token_hex(16), 0.0, 0
    with peer.started(place, "full") as server:
        began = time.perf_counter()
        for _ in range(BREAKS):
            opened = time.perf_counter()
            connection = server.connect()
            run_blocking(_begin(connection, part, key))
            ready = _signal(connection)
            longest = max(longest, time.perf_counter() - opened)
            offset = ready["offset"]
            length = min(ready["chunksize"], part.size // (BREAKS + 1))
            run_blocking(connection.send(header(2, ready["chunksize"])))
            run_blocking(connection.send_file(part.source, part.offset + offset, length - 1))
            _reset(connection)
        return Run(offset, time.perf_counter() - began, 0, {"first": longest})


def _start(peer: Peer, part: Part, place: Path) -> Run:
    """Keep KEPT_GIB of a sparse file over a restart; `first` begins when the daemon is started."""
    setup = Setup(place, free_port(), "full")
    offset, store, log, port = KEPT_GIB << 30, setup.store, place / "log", setup.port
    large = Part(part.name, part.source, part.offset, offset + (1 << 30), part.sha1)
    store.mkdir(parents=True)
    key, command = secrets.token_hex(16), peer.command(setup)
    try:
        with running(command, log, port):
            connection = Connection(("127.0.0.1", port))
            run_blocking(_begin(connection, large, key))
            run_blocking(connection.send(header(2, _signal(connection)["chunksize"])))
            run_blocking(connection.send_file(part.source, part.offset, MIB // 2))
            connection.socket.shutdown(socket.SHUT_WR)
            run_blocking(connection.until_end())
        (kept,) = (store / ".galileod" / "spool").iterdir()
        os.truncate(kept, offset)
        with sqlite3.connect(store / ".galileod" / "ledger.sqlite3") as ledger:
            ledger.execute("UPDATE uploads SET offset = ?", (offset,))
        ledger.close()
        began = time.perf_counter()
        with running(command, log, port):
            connection = Connection(("127.0.0.1", port))
            run_blocking(_begin(connection, large, key))
            if (found := _signal(connection)["offset"]) != offset:
                raise Void(f"it goes on at {found}")
            seconds = time.perf_counter() - began
            _reset(connection)
    finally:
        shutil.rmtree(place)
    return Run(offset, seconds, 0, {"first": seconds})


def _signal(connection: Connection) -> dict[str, int]:
    signals: list[dict[str, int]] = []

    def receive() -> Generator[int, None, None]:
        signals.append((yield from connection.signal()))

    run_blocking(receive())
    return signals[0]


def _reset(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
