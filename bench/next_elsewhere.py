"""Benchmarks of `next` to a disk, and over a connection with a long round trip."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from durable_writer import THREADS, compile_writer, write_durably
from measure import Run, Settings, Subject, alternate, at_least, row, spread, table
from next_client import prepare
from next_files import CONNECTIONS, by_next, small_files
from servers import Peer, galileod_builds
from single_uploads import link

DURABLE_TARGET = 0.5
"""Minimum rate, relative to the program that only writes."""

MBITS, ROUND_TRIP = 1000, 100
"""Bandwidth in Mbit/s, and round trip in ms."""
FAR_TARGET = 1200
"""Minimum files per second."""


def next_on_disk(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB with `next` to a disk, durably, and by a program that only writes."""
    subjects: list[Subject] = []
    with (
        small_files(settings) as (data, parts),
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        place = Path(folder)
        files = [prepare(part) for part in parts]
        (place / "store").mkdir()
        aside = place / "aside"
        aside.mkdir()

        def write() -> Run:
            program = place / "durable_writer"
            if not program.exists():
                compile_writer(program)
            return write_durably(program, data.path, parts, place / "store", aside)

        writer = Subject(f"write, fsync, link, fsync in {THREADS} threads", write)
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(place / peer.name, "full", aside=aside))
            subjects += [by_next(server, files, count) for count in CONNECTIONS]
        alternate("next-disk", [writer, *subjects], settings)
    rows = []
    for subject in [writer, *subjects]:
        ratios = subject.ratios_to(writer, "files")
        cells = (
            spread(ratios),
            "-" if subject is writer else at_least(DURABLE_TARGET, ratios),
            spread(subject.values("files"), ".0f"),
            spread(subject.values("cpu_ms"), ".3f"),
        )
        rows.append(row(subject, *cells))
    head = (f"{len(parts)} files", "of the program's rate", "target", "files per second")
    return table((*head, "CPU ms per file"), rows)


def next_far(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB with `next` on one connection with a round trip of 100 ms, to tmpfs."""
    subjects = []
    with small_files(settings) as (data, parts), ExitStack() as stack:
        files = [prepare(part) for part in parts]
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            port = stack.enter_context(link(server, MBITS, ROUND_TRIP))
            subjects.append(by_next(server, files, 1, port))
        alternate("next-far", subjects, settings)
    rows = []
    for subject in subjects:
        per_second = subject.values("files")
        target = at_least(FAR_TARGET, per_second, ".0f")
        cells = (spread(per_second, ".0f"), target, spread(subject.values("cpu_ms"), ".3f"))
        rows.append(row(subject, *cells))
    head = (f"{len(parts)} files, {MBITS} Mbit/s, {ROUND_TRIP} ms", "files per second", "target")
    return table((*head, "CPU ms per file"), rows)
