"""Many uploads at once: large ones that share a daemon, and small ones that come and go.

The client is one thread here too, and the same for one upload as for many.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from measure import (
    GIB,
    Lane,
    Run,
    Settings,
    alternate,
    at_least,
    at_most,
    lane_of,
    not_there,
    row,
    spread,
    table,
)
from peers import Peer, Running, builds, there
from process import cpu_seconds, forget_peak, peak_memory
from source import source
from talk import Crowd, Line, Part, Talk, drive, name_part, send_part, upgrade

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
    lanes: dict[tuple[str, int], Lane] = {}
    with source(settings.tmpfs, settings.part(1)) as data, ExitStack() as stack:
        least = settings.part(EACH)
        parts = {count: data.parts(count, max(data.size // count, least)) for count in CROWDS}
        for peer in builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            for count in CROWDS:
                name = f"{count}, {peer.name}"
                lanes[peer.name, count] = Lane(name, partial(_together, server, parts[count]))
        alternate("many", list(lanes.values()), settings)
    rows = []
    for (name, count), lane in lanes.items():
        alone = lane_of(list(lanes.values()), lanes[name, 1].name)
        memory = lane.values("memory")
        cells = (
            spread(lane.over(alone)) if count > 1 else "-",
            spread(lane.values("by_bytes"), ".3f") if count > 1 else "-",
            spread(lane.values("by_rates"), ".3f") if count > 1 else "-",
            spread(memory, ".0f"),
            at_most(MEMORY_AIM, memory, ".0f"),
            spread(lane.values("rate"), ".0f"),
            spread(lane.values("cpu_per_gib")),
        )
        rows.append(row(lane, *cells))
    head = ("uploads", "of one's rate", "Jain's index at the first end", "of own rates")
    return table((*head, "peak memory, MiB", "aim", "MB/s in all", "CPU s/GiB"), rows)


def _together(server: Running, parts: Sequence[Part]) -> Run:
    """Uploads that begin to send when all were asked to; timed until the last is stored.

    Jain's index is 1 where all of n had as much, and 1/n where one had everything. It is taken of
    the bytes that each has sent when the first of them is stored, which is strict where uploads are
    small beside what is granted ahead, and of the rate that each had until its own end.
    """
    lines = [server.connect() for _ in parts]
    for line, part in zip(lines, parts, strict=True):
        drive(upgrade(line))
        drive(name_part(line, part))
    forget_peak(server.pid)
    before, began = cpu_seconds(server.pid), time.perf_counter()
    crowd, sent, rates = Crowd(), list[int](), list[float]()
    for line, part in zip(lines, parts, strict=True):
        crowd.add(line, send_part(line, part))
    for line in crowd.finished():
        rates.append(line.sent / (time.perf_counter() - began))
        sent = sent or [line.sent for line in lines]
    seconds = time.perf_counter() - began
    for line in lines:
        line.socket.setblocking(True)
        drive(server.goodbye(line))
        line.socket.close()
    cpu = cpu_seconds(server.pid) - before
    extra = {"by_bytes": jain(sent), "by_rates": jain(rates), "memory": peak_memory(server.pid)}
    server.take_out(parts)
    return Run(sum(part.size for part in parts), seconds, cpu, extra)


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB, 16 at once, each on a connection of its own; on tmpfs unless it is said."""
    lanes, on_disk = [], []
    count = max(AT_ONCE, settings.size * FILES // GIB)
    with (
        source(settings.tmpfs, count * FILE_SIZE) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        parts = data.parts(count, FILE_SIZE)
        for peer in there(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            lanes.append(Lane(peer.name, partial(_come_and_go, server, parts)))
        for peer in builds(peers):
            server = stack.enter_context(peer.started(Path(folder) / peer.name, "full"))
            name = f"{peer.name}, durable on disk"
            on_disk.append(Lane(name, partial(_come_and_go, server, parts)))
        alternate("small", [*lanes, *on_disk], settings)
    galileod = lane_of(lanes, "galileod")
    rows = []
    for lane in [*lanes, *on_disk]:
        files = lane.values("files")
        beside = galileod.over(lane) if galileod and galileod is not lane else []
        aim = at_least(FILES_AIM, files, ".0f") if lane.name == "galileod" else "-"
        ms = spread(lane.values("cpu_ms"))
        rows.append(row(lane, spread(beside), spread(files, ".0f"), aim, ms))
    head = (f"{count} files", "galileod beside it", "files a second", "aim", "CPU ms a file")
    return table(head, rows + not_there(peers, 4))


def _come_and_go(server: Running, parts: Sequence[Part]) -> Run:
    """Uploads of which each begins when one before it has ended; timed to the last goodbye."""

    def visit(line: Line, part: Part) -> Talk:
        yield from server.peer.upload(line, part)
        yield from server.goodbye(line)

    def begin() -> None:
        for part in to_do:
            line = server.connect()
            crowd.add(line, visit(line, part))
            return

    crowd, to_do = Crowd(), iter(parts)
    before, began = cpu_seconds(server.pid), time.perf_counter()
    for _ in range(AT_ONCE):
        begin()
    for line in crowd.finished():
        line.socket.close()
        begin()
    seconds = time.perf_counter() - began
    cpu = cpu_seconds(server.pid) - before
    server.take_out(parts)
    files = {"files": len(parts) / seconds, "cpu_ms": cpu * 1000 / len(parts)}
    return Run(len(parts) * FILE_SIZE, seconds, cpu, files)
