"""Benchmarks of concurrent uploads: large files, and many small files.

The client has one thread, whatever the number of uploads.
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
from processes import cpu_seconds, peak_memory, reset_peak_memory
from servers import Peer, Running, available, galileod_builds
from source_file import source

COUNTS = (1, 8, 64, 512)
MIN_SIZE = 1 / 128
"""Minimum GiB of an upload of `many`: `small` measures the cost of a connection."""
MEMORY_TARGET = 256 + 100
"""Maximum memory of the daemon in MiB: `chunks.memory`, and 100 more."""

FILES, FILE_SIZE = 5000, 10_000
AT_ONCE = 16
FILES_TARGET = 1000
"""Files per second."""


def many(settings: Settings, peers: Sequence[Peer]) -> str:
    """1, 8, 64 and 512 simultaneous uploads of 1 GiB in total, at least 8 MiB each; on tmpfs."""
    subjects: dict[tuple[str, int], Subject] = {}
    with source(settings.tmpfs, settings.scaled(1)) as data, ExitStack() as stack:
        least = settings.scaled(MIN_SIZE)
        parts = {count: data.parts(count, max(data.size // count, least)) for count in COUNTS}
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            for count in COUNTS:
                name = f"{count}, {peer.name}"
                subjects[peer.name, count] = Subject(name, partial(_together, server, parts[count]))
        alternate("many", list(subjects.values()), settings)
    rows = []
    for (name, count), subject in subjects.items():
        alone = subject_of(list(subjects.values()), subjects[name, 1].name)
        memory = subject.values("memory")
        cells = (
            spread(subject.ratios_to(alone)) if count > 1 else "-",
            spread(subject.values("by_bytes"), ".3f") if count > 1 else "-",
            spread(subject.values("by_rates"), ".3f") if count > 1 else "-",
            spread(memory, ".0f"),
            at_most(MEMORY_TARGET, memory, ".0f"),
            spread(subject.values("rate"), ".0f"),
            spread(subject.values("cpu_per_gib")),
        )
        rows.append(row(subject, *cells))
    head = ("uploads", "of one upload's rate", "Jain's index at the first end", "of their rates")
    return table((*head, "peak memory, MiB", "target", "MB/s in total", "CPU s/GiB"), rows)


def _together(server: Running, parts: Sequence[Part]) -> Run:
    """Run uploads that start to send when the server is ready for all of them.

    The time ends when the last one is stored. Jain's index of fairness is computed from the bytes
    that each upload has sent when the first one is stored (low if uploads are small compared with
    the data that they may send ahead), and from the rate of each upload until its own end.
    """
    connections = [server.connect() for _ in parts]
    for connection, part in zip(connections, parts, strict=True):
        run_blocking(upgrade(connection))
        run_blocking(send_metadata(connection, part))
    reset_peak_memory(server.pid)
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
    """Jain's index of fairness: 1 if all n shares are equal, 1/n if one share is everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB, 16 at once, each on a new connection; on tmpfs, except "durable on disk"."""
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
        ratios = galileod.ratios_to(subject) if galileod and galileod is not subject else []
        target = at_least(FILES_TARGET, files, ".0f") if subject.name == "galileod" else "-"
        ms = spread(subject.values("cpu_ms"))
        rows.append(row(subject, spread(ratios), spread(files, ".0f"), target, ms))
    head = (
        f"{count} files",
        "galileod relative to it",
        "files per second",
        "target",
        "CPU ms per file",
    )
    return table(head, rows + unavailable_rows(peers, 4))


def _upload_each(server: Running, parts: Sequence[Part]) -> Run:
    """Run uploads, AT_ONCE at a time; the time ends when the last connection is closed."""

    def whole_exchange(connection: Connection, part: Part) -> Exchange:
        yield from server.peer.upload(connection, part)
        yield from server.close(connection)

    def begin() -> None:
        for part in waiting:
            connection = server.connect()
            loop.add(connection, whole_exchange(connection, part))
            return

    loop, waiting = EventLoop(), iter(parts)
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
