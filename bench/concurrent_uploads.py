"""Benchmarks of concurrent uploads: large ones that share the server, and many small ones.

The client is one thread, for one upload as for many.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from clients import (
    Connection,
    EventLoop,
    Exchange,
    Part,
    run_blocking,
    send_metadata,
    send_part,
    upgrade,
)
from measure import (
    GIB,
    Run,
    Settings,
    Subject,
    alternate,
    at_least,
    at_most,
    row,
    spread,
    subject_of,
    table,
    unavailable_rows,
)
from processes import cpu_seconds, forget_peak, peak_memory
from servers import Peer, Running, available, galileod_builds
from source_file import source

CROWDS = (1, 8, 64, 512)
EACH = 1 / 128
"""GiB in each of many uploads at the least: what a connection costs is measured by `small`."""
MEMORY_AIM = 256 + 100
"""MiB that the daemon may have in memory: `chunks.memory`, and 100 more."""

FILES, FILE_SIZE = 5000, 10_000
AT_ONCE = 16
FILES_AIM = 1000
"""Files a second."""


def many(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload, and many that start together, of 1 GiB in all or 8 MiB each; on tmpfs."""
    subjects: dict[tuple[str, int], Subject] = {}
    with source(settings.tmpfs, settings.part(1)) as data, ExitStack() as stack:
        least = settings.part(EACH)
        parts = {count: data.parts(count, max(data.size // count, least)) for count in CROWDS}
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            for count in CROWDS:
                name = f"{count}, {peer.name}"
                subjects[peer.name, count] = Subject(name, partial(_together, server, parts[count]))
        alternate("many", list(subjects.values()), settings)
    rows = []
    for (name, count), subject in subjects.items():
        alone = subject_of(list(subjects.values()), subjects[name, 1].name)
        memory = subject.values("memory")
        cells = (
            spread(subject.over(alone)) if count > 1 else "-",
            spread(subject.values("by_bytes"), ".3f") if count > 1 else "-",
            spread(subject.values("by_rates"), ".3f") if count > 1 else "-",
            spread(memory, ".0f"),
            at_most(MEMORY_AIM, memory, ".0f"),
            spread(subject.values("rate"), ".0f"),
            spread(subject.values("cpu_per_gib")),
        )
        rows.append(row(subject, *cells))
    head = ("uploads", "of one's rate", "Jain's index at the first end", "of own rates")
    return table((*head, "peak memory, MiB", "aim", "MB/s in all", "CPU s/GiB"), rows)


def _together(server: Running, parts: Sequence[Part]) -> Run:
    """Uploads that begin to send when all were asked to; timed until the last is stored.

    Jain's index is 1 where all of n had as much, and 1/n where one had everything. It is taken of
    the bytes that each has sent when the first of them is stored, which is strict where uploads are
    small beside what is granted ahead, and of the rate that each had until its own end.
    """
    connections = [server.connect() for _ in parts]
    for connection, part in zip(connections, parts, strict=True):
        run_blocking(upgrade(connection))
        run_blocking(send_metadata(connection, part))
    forget_peak(server.pid)
    before, began = cpu_seconds(server.pid), time.perf_counter()
    loop, sent, rates = EventLoop(), list[int](), list[float]()
    for connection, part in zip(connections, parts, strict=True):
        loop.add(connection, send_part(connection, part))
    for connection in loop.finished():
        rates.append(connection.sent / (time.perf_counter() - began))
        sent = sent or [connection.sent for connection in connections]
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.socket.setblocking(True)
        run_blocking(server.close(connection))
        connection.socket.close()
    cpu = cpu_seconds(server.pid) - before
    extra = {"by_bytes": jain(sent), "by_rates": jain(rates), "memory": peak_memory(server.pid)}
    server.check_and_remove(parts)
    return Run(sum(part.size for part in parts), seconds, cpu, extra)


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB, 16 at once, each on a connection of its own; on tmpfs unless it is said."""
    subjects, on_disk = [], []
    count = max(AT_ONCE, settings.size * FILES // GIB)
    with (
        source(settings.tmpfs, count * FILE_SIZE) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        parts = data.parts(count, FILE_SIZE)
        for peer in available(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            subjects.append(Subject(peer.name, partial(_upload_each, server, parts)))
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(Path(folder) / peer.name, "full"))
            name = f"{peer.name}, durable on disk"
            on_disk.append(Subject(name, partial(_upload_each, server, parts)))
        alternate("small", [*subjects, *on_disk], settings)
    galileod = subject_of(subjects, "galileod")
    rows = []
    for subject in [*subjects, *on_disk]:
        files = subject.values("files")
        beside = galileod.over(subject) if galileod and galileod is not subject else []
        aim = at_least(FILES_AIM, files, ".0f") if subject.name == "galileod" else "-"
        ms = spread(subject.values("cpu_ms"))
        rows.append(row(subject, spread(beside), spread(files, ".0f"), aim, ms))
    head = (f"{count} files", "galileod beside it", "files a second", "aim", "CPU ms a file")
    return table(head, rows + unavailable_rows(peers, 4))


def _upload_each(server: Running, parts: Sequence[Part]) -> Run:
    """Uploads of which each begins when one before it has ended; timed to the last close."""

    def whole_exchange(connection: Connection, part: Part) -> Exchange:
        yield from server.peer.upload(connection, part)
        yield from server.close(connection)

    def begin() -> None:
        for part in to_do:
            connection = server.connect()
            loop.add(connection, whole_exchange(connection, part))
            return

    loop, to_do = EventLoop(), iter(parts)
    before, began = cpu_seconds(server.pid), time.perf_counter()
    for _ in range(AT_ONCE):
        begin()
    for connection in loop.finished():
        connection.socket.close()
        begin()
    seconds = time.perf_counter() - began
    cpu = cpu_seconds(server.pid) - before
    server.check_and_remove(parts)
    files = {"files": len(parts) / seconds, "cpu_ms": cpu * 1000 / len(parts)}
    return Run(len(parts) * FILE_SIZE, seconds, cpu, files)
