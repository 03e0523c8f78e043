"""Benchmark of many small files, each on a connection of its own; and how to send many files.

The client has one thread, whatever the number of connections.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from connection import Connection, EventLoop, Part
from measure import (
    GIB,
    Run,
    Settings,
    Subject,
    alternate,
    at_least,
    row,
    spread,
    subject_of,
    table,
    unavailable_rows,
)
from processes import cpu_seconds
from servers import Peer, Running, Start, available, galileod_builds
from source_file import source

FILES, FILE_SIZE = 5000, 10_000
AT_ONCE = 16
TUS_TARGET = 1.0
"""Minimum rate of galileod, relative to tus."""
FILES_TARGET = 1000
"""Files per second, on a machine where tus has that."""


def small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB, 16 at once, each on a new connection; on tmpfs, except "durable on disk"."""
    subjects, on_disk = [], []
    count = count_of(settings, AT_ONCE)
    with (
        source(settings.tmpfs, count * FILE_SIZE) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        parts = data.parts(count, FILE_SIZE)
        place, aside = Path(folder), Path(folder) / "aside"
        aside.mkdir()
        for peer in available(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            subjects.append(Subject(peer.name, partial(send_each, server, parts)))
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(place / peer.name, "full", aside=aside))
            name = f"{peer.name}, durable on disk"
            on_disk.append(Subject(name, partial(send_each, server, parts)))
        alternate("small", [*subjects, *on_disk], settings)
    galileod = subject_of(subjects, "galileod")
    rows = []
    for subject in [*subjects, *on_disk]:
        files = subject.values("files")
        ratios = galileod.ratios_to(subject) if galileod and galileod is not subject else []
        cells = (
            spread(ratios),
            at_least(TUS_TARGET, ratios) if subject.name == "tus" else "-",
            spread(files, ".0f"),
            at_least(FILES_TARGET, files, ".0f") if subject.name == "galileod" else "-",
            spread(subject.values("cpu_ms")),
        )
        rows.append(row(subject, *cells))
    head = (f"{count} files", "galileod relative to it", "target", "files per second", "target")
    return table((*head, "CPU ms per file"), rows + unavailable_rows(peers, 5))


def count_of(settings: Settings, least: int, files: int = FILES) -> int:
    """The number of files that replaces `files` if the size is not 1 GiB; at least `least`."""
    return max(least, settings.size * files // GIB)


def send_each(server: Running, parts: Sequence[Part]) -> Run:
    """Send each file on a new connection, AT_ONCE at a time."""

    def sending(part: Part) -> Start:
        return lambda connection: server.peer.upload(connection, part)

    return run_all(server, parts, map(sending, parts), AT_ONCE)


def run_all(
    server: Running,
    parts: Sequence[Part],
    waiting: Iterator[Start],
    at_once: int,
    port: int | None = None,
) -> Run:
    """Run exchanges that send `parts`, each on a new connection; then verify the stored files.

    The time ends when the last connection is closed. `port` is that of a proxy for the server.
    """
    loop = EventLoop()
    connections: set[Connection] = set()

    def begin() -> None:
        for exchange in waiting:
            connection = server.connect(port)
            connections.add(connection)
            loop.add(connection, server.closing(exchange)(connection))
            return

    before, began = cpu_seconds(server.pid), time.perf_counter()
    try:
        for _ in range(at_once):
            begin()
        for connection in loop.finished():
            connections.remove(connection)
            connection.socket.close()
            begin()
    finally:
        for connection in connections:  # after an error
            connection.socket.close()
    seconds = time.perf_counter() - began
    cpu = cpu_seconds(server.pid) - before
    server.check_and_remove(parts)
    files = {"files": len(parts) / seconds, "cpu_ms": cpu * 1000 / len(parts)}
    return Run(sum(part.size for part in parts), seconds, cpu, files)
