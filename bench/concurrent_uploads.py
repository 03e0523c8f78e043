"""Benchmark of concurrent uploads.

The client has one thread, whatever the number of uploads.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from clients import send_metadata, send_part, upgrade
from connection import EventLoop, Part, run_blocking
from measure import Run, Settings, Subject, alternate, at_least, at_most, row, spread, table
from processes import cpu_seconds, peak_memory, reset_peak_memory
from servers import Peer, Running, available, galileod_builds
from single_uploads import upload
from source_file import source

COUNTS = (1, 8, 64, 512)
MIN_SIZE = 1 / 128
"""Minimum GiB of an upload of `many`: `small` measures the cost of a connection."""
RATE_TARGETS = {64: 0.9, 512: 0.75}
"""Minimum rate of so many uploads in total, relative to that of one."""
MEMORY_TARGET = 256 + 100
"""Maximum memory of the daemon in MiB: `chunks.memory`, and 100 more."""


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
        nginx = []
        for peer in available(peers):
            if peer.name == "nginx":
                server = stack.enter_context(peer.started(data.folder / peer.name))
                nginx = [Subject("1, nginx", partial(upload, server, parts[1][0]))]
        alternate("many", [*subjects.values(), *nginx], settings)
    rows = []
    for (name, count), subject in subjects.items():
        ratios = subject.ratios_to(subjects[name, 1]) if count > 1 else []
        memory = subject.values("memory")
        cells = (
            spread(ratios),
            at_least(RATE_TARGETS[count], ratios) if count in RATE_TARGETS else "-",
            spread(subject.ratios_to(nginx[0])) if nginx and count == 1 else "-",
            spread(subject.values("by_bytes"), ".3f") if count > 1 else "-",
            spread(subject.values("by_rates"), ".3f") if count > 1 else "-",
            spread(memory, ".0f"),
            at_most(MEMORY_TARGET, memory, ".0f"),
            spread(subject.values("rate"), ".0f"),
            spread(subject.values("cpu_per_gib")),
        )
        rows.append(row(subject, *cells))
    for subject in nginx:
        figures = (spread(subject.values("rate"), ".0f"), spread(subject.values("cpu_per_gib")))
        rows.append(row(subject, *"-------", *figures))
    head = (
        "uploads",
        "of one upload's rate",
        "target",
        "of nginx's rate",
        "Jain's index at the first end",
        "of their rates",
        "peak memory, MiB",
        "target",
        "MB/s in total",
        "CPU s/GiB",
    )
    return table(head, rows)


def _together(server: Running, parts: Sequence[Part]) -> Run:
    """Run uploads that start to send when the server is ready for all of them.

    The time ends when the last one is stored. Jain's index of fairness is computed from the bytes
    that each upload has sent when the first one is stored (low if uploads are small compared with
    the data that they may send ahead), and from the rate of each upload until its own end.
    """
    connections = []
    for part in parts:
        connections.append(connection := server.connect())
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
