"""Benchmarks of one upload at a time: to tmpfs, over a slow link, and to disk."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from connection import Part, run_blocking
from measure import (
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
from peers import BENCH
from processes import cpu_seconds, free_port, running
from servers import Command, Peer, Running, available, galileod_builds
from source_file import source

TARGETS = {"limit": 0.85, "tus": 2.0, "naive": 5.0, "nginx": 0.5}
"""Minimum rate of galileod, relative to each of these."""

CPU_TARGET = 1.3
"""Maximum CPU time of galileod, relative to the limit."""

LINKS = ((400, 50, 0.5, 0.92), (400, 200, 0.5, 0.92), (20, 300, 48 / 1024, 0.9))
"""Bandwidth in Mbit/s, round trip in ms, GiB to send, and minimum part of the bandwidth."""

DISK_TARGET = 0.9
"""Minimum rate of galileod, relative to dd."""

DD_SECONDS = 600


def upload(server: Running, part: Part, port: int | None = None) -> Run:
    """Run one upload, timed from connect to the final response; then verify the stored file."""
    before, began = cpu_seconds(server.pid), time.perf_counter()
    connection = server.connect(port)
    run_blocking(server.peer.upload(connection, part))
    seconds = time.perf_counter() - began
    run_blocking(server.close(connection))
    connection.socket.close()
    cpu = cpu_seconds(server.pid) - before
    server.check_and_remove([part])
    return Run(part.size, seconds, cpu)


def one(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time on tmpfs; galileod verifies its sha1."""
    subjects = []
    with source(settings.tmpfs, settings.scaled(1)) as data, ExitStack() as stack:
        (whole,) = data.parts(1)
        for peer in available(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            subjects.append(Subject(peer.name, partial(upload, server, whole)))
        alternate("one", subjects, settings)
    galileod, limit = subject_of(subjects, "galileod"), subject_of(subjects, "limit")
    rows = []
    for subject in subjects:
        ratios = galileod.ratios_to(subject) if galileod and galileod is not subject else []
        cpu = subject.ratios_to(limit, "cpu")
        cells = (
            spread(subject.ratios_to(limit)),
            spread(ratios),
            at_least(TARGETS[subject.name], ratios) if subject.name in TARGETS else "-",
            spread(subject.values("rate"), ".0f"),
            spread(subject.values("cpu_per_gib")),
            spread(cpu),
            at_most(CPU_TARGET, cpu) if subject.name == "galileod" else "-",
        )
        rows.append(row(subject, *cells))
    head = ("peer", "of the limit's rate", "galileod relative to it", "target", "MB/s", "CPU s/GiB")
    return table((*head, "of the limit's CPU", "target"), rows + unavailable_rows(peers, 7))


def far(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload over a slow link: its rate relative to the bandwidth, start and end included."""
    subjects: list[tuple[Subject, float]] = []
    most = max(gib for _, _, gib, _ in LINKS)
    with source(settings.tmpfs, settings.scaled(most)) as data, ExitStack() as stack:
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            for mbits, round_trip, gib, target in LINKS:
                (part,) = data.parts(1, settings.scaled(gib))
                port = stack.enter_context(link(server, mbits, round_trip))
                once = partial(_over, server, part, port, mbits * 1e6 / 8)
                subjects.append(
                    (Subject(f"{peer.name}, {mbits} Mbit/s, {round_trip} ms", once), target)
                )
        alternate("far", [subject for subject, _ in subjects], settings)
    rows = []
    for subject, target in subjects:
        used = subject.values("of_link")
        cells = (spread(used, ".3f"), at_least(target, used), spread(subject.values("rate"), ".1f"))
        chunk = spread(subject.values("longest_chunk"))
        rows.append(row(subject, *cells, chunk, spread(subject.values("cpu_per_gib"))))
    head = (
        "connection",
        "of its bandwidth",
        "target",
        "MB/s",
        "s for the longest chunk",
        "CPU s/GiB",
    )
    return table(head, rows)


@contextmanager
def link(server: Running, mbits: int, round_trip: int) -> Iterator[int]:
    """Run a proxy that simulates a slow link to the server; yields its port."""
    port = free_port()
    ends = (str(port), str(server.port))
    command: Command = [
        sys.executable,
        BENCH / "delay_proxy.py",
        *ends,
        str(mbits),
        str(round_trip),
    ]
    with running(command, server.log.with_name(f"link-{port}.log"), port):
        yield port


def _over(server: Running, part: Part, port: int, rate: float) -> Run:
    """Run an upload over a link of `rate` bytes per second.

    `longest_chunk` in the result is the time in seconds of the longest chunk at that rate.
    """
    run = upload(server, part, port)
    events = [json.loads(text) for text in server.log.read_text().splitlines()]
    longest = [event for event in events if event["event"] == "upload.stored"][-1]["chunk_max"]
    return replace(run, extra={"of_link": run.rate * 1e6 / rate, "longest_chunk": longest / rate})


def disk(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time to a disk, with `storage.durability = "full"`."""
    with (
        source(settings.tmpfs, settings.scaled(1)) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        (whole,) = data.parts(1)
        subjects = [Subject("dd conv=fsync", partial(_dd, data.path, Path(folder) / "dd"))]
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(Path(folder) / peer.name, "full"))
            subjects.append(Subject(peer.name, partial(upload, server, whole)))
        alternate("disk", subjects, settings)
    rows = []
    for subject in subjects:
        ratios = subject.ratios_to(subject_of(subjects, subjects[0].name))
        target = at_least(DISK_TARGET, ratios) if subject.name == "galileod" else "-"
        cells = (spread(ratios), target, spread(subject.values("rate"), ".0f"))
        rows.append(row(subject, *cells, spread(subject.values("cpu_per_gib"))))
    return table(("to disk", "of dd's rate", "target", "MB/s", "CPU s/GiB"), rows)


def _dd(path: Path, target: Path) -> Run:
    """Copy the file with dd, including the fsync."""
    command = ["dd", f"if={path}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, timeout=DD_SECONDS)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    target.unlink()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(path.stat().st_size, seconds, cpu)
