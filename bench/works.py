"""One upload at a time: out of memory into memory, over a long line, and onto a disk."""

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

from measure import (
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
from peers import BENCH, Command, Peer, Running, builds, there
from process import cpu_seconds, free_port, running
from source import source
from talk import Part, drive

AIMS = {"limit": 0.85, "tus": 2.0, "afternoon": 5.0, "nginx": 0.5}
"""How many times as fast as these galileod is to be."""

CPU_AIM = 1.3
"""CPU seconds that galileod may take for each of the limit's."""

LINKS = ((400, 50, 0.5, 0.92), (400, 200, 0.5, 0.92), (20, 300, 48 / 1024, 0.9))
"""Mbit/s, round trip in ms, GiB to send, and the part of the link that is to be used."""

DISK_AIM = 0.9
"""The part of dd's rate that galileod is to have."""

DD_SECONDS = 600


def upload(server: Running, part: Part, port: int | None = None) -> Run:
    """One upload, from the connection to the server's word that it is stored; then a look at it."""
    before, began = cpu_seconds(server.pid), time.perf_counter()
    line = server.connect(port)
    drive(server.peer.upload(line, part))
    seconds = time.perf_counter() - began
    drive(server.goodbye(line))
    line.socket.close()
    cpu = cpu_seconds(server.pid) - before
    server.take_out([part])
    return Run(part.size, seconds, cpu)


def one(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time on tmpfs; galileod verifies its sha1."""
    lanes = []
    with source(settings.tmpfs, settings.part(1)) as data, ExitStack() as stack:
        (whole,) = data.parts(1)
        for peer in there(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            lanes.append(Lane(peer.name, partial(upload, server, whole)))
        alternate("one", lanes, settings)
    galileod, limit = lane_of(lanes, "galileod"), lane_of(lanes, "limit")
    rows = []
    for lane in lanes:
        beside = galileod.over(lane) if galileod and galileod is not lane else []
        cpu = lane.over(limit, "cpu")
        cells = (
            spread(lane.over(limit)),
            spread(beside),
            at_least(AIMS[lane.name], beside) if lane.name in AIMS else "-",
            spread(lane.values("rate"), ".0f"),
            spread(lane.values("cpu_per_gib")),
            spread(cpu),
            at_most(CPU_AIM, cpu) if lane.name == "galileod" else "-",
        )
        rows.append(row(lane, *cells))
    head = ("peer", "of the limit's rate", "galileod beside it", "aim", "MB/s", "CPU s/GiB")
    return table((*head, "of the limit's CPU", "aim"), rows + not_there(peers, 7))


def far(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload over a long line: the part of its rate that is used, start and end included."""
    lanes: list[tuple[Lane, float]] = []
    most = max(gib for _, _, gib, _ in LINKS)
    with source(settings.tmpfs, settings.part(most)) as data, ExitStack() as stack:
        for peer in builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            for mbits, round_trip, gib, aim in LINKS:
                (part,) = data.parts(1, settings.part(gib))
                port = stack.enter_context(_line(server, mbits, round_trip))
                once = partial(_over, server, part, port, mbits * 1e6 / 8)
                lanes.append((Lane(f"{peer.name}, {mbits} Mbit/s, {round_trip} ms", once), aim))
        alternate("far", [lane for lane, _ in lanes], settings)
    rows = []
    for lane, aim in lanes:
        used = lane.values("of_line")
        cells = (spread(used, ".3f"), at_least(aim, used), spread(lane.values("rate"), ".1f"))
        chunk = spread(lane.values("longest_chunk"))
        rows.append(row(lane, *cells, chunk, spread(lane.values("cpu_per_gib"))))
    head = ("line", "of its rate", "aim", "MB/s", "s for the longest chunk", "CPU s/GiB")
    return table(head, rows)


@contextmanager
def _line(server: Running, mbits: int, round_trip: int) -> Iterator[int]:
    """A long line to the server; gives the port where it begins."""
    port = free_port()
    ends = (str(port), str(server.port))
    command: Command = [sys.executable, BENCH / "delay.py", *ends, str(mbits), str(round_trip)]
    with running(command, server.log.with_name(f"line-{port}.log"), port):
        yield port


def _over(server: Running, part: Part, port: int, rate: float) -> Run:
    """An upload over a line of `rate` bytes a second, with the time of its longest chunk."""
    run = upload(server, part, port)
    events = [json.loads(text) for text in server.log.read_text().splitlines()]
    longest = [event for event in events if event["event"] == "upload.stored"][-1]["chunk_max"]
    return replace(run, extra={"of_line": run.rate * 1e6 / rate, "longest_chunk": longest / rate})


def disk(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time onto a disk, durable when it is said to be stored."""
    with (
        source(settings.tmpfs, settings.part(1)) as data,
        tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=settings.disk) as folder,
        ExitStack() as stack,
    ):
        (whole,) = data.parts(1)
        lanes = [Lane("dd conv=fsync", partial(_dd, data.path, Path(folder) / "dd"))]
        for peer in builds(peers):
            server = stack.enter_context(peer.started(Path(folder) / peer.name, "full"))
            lanes.append(Lane(peer.name, partial(upload, server, whole)))
        alternate("disk", lanes, settings)
    rows = []
    for lane in lanes:
        beside = lane.over(lane_of(lanes, lanes[0].name))
        aim = at_least(DISK_AIM, beside) if lane.name == "galileod" else "-"
        cells = (spread(beside), aim, spread(lane.values("rate"), ".0f"))
        rows.append(row(lane, *cells, spread(lane.values("cpu_per_gib"))))
    return table(("onto disk", "of dd's rate", "aim", "MB/s", "CPU s/GiB"), rows)


def _dd(path: Path, target: Path) -> Run:
    """A copy of the file that is on disk at its end."""
    command = ["dd", f"if={path}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, timeout=DD_SECONDS)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    target.unlink()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(path.stat().st_size, seconds, cpu)
