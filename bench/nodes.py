"""Benchmarks of nodes that share a ledger in PostgreSQL: reservations, and small files."""

import atexit
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import cycle
from pathlib import Path

from buckets import Postgresql
from connection import Connection, EventLoop, Part
from measure import Run, Settings, Subject, alternate, row, spread, table
from next_client import Prepared, prepare, send_files
from next_files import by_next
from processes import cpu_seconds
from servers import Command, Peer, Running, Setup, galileod_builds
from small_files import AT_ONCE, FILE_SIZE, count_of
from source_file import source
from stored import check_and_remove

SAFE = ("fsync=on", "full_page_writes=on")
"""What is set for the server: it loses nothing in a crash of the machine."""

RESERVATIONS = 20_000
ALONE = 1000
"""If they are made one at a time."""

NODES = (1, 2)
CONNECTIONS = 4
"""Connections of the clients to all nodes together."""

WAYS = (
    ("one at a time", 1, 1),
    ("64 at once, 1,000 users", 1000, 64),
    ("64 at once, one user", 1, 64),
)
"""How reservations are made: users, and how many at the same time at each node."""


def reservations(settings: Settings, peers: Sequence[Peer]) -> str:
    """Reservations in PostgreSQL, each released again, by one and by two processes."""
    del peers  # only the ledger is measured
    subjects = []
    for text, users, at_once in WAYS:
        count = count_of(settings, 50, RESERVATIONS if at_once > 1 else ALONE)
        for nodes in NODES:
            name = f"{text}, {nodes} node{'s' * (nodes > 1)}"
            subjects.append(Subject(name, partial(_reserve, nodes, users, at_once, count)))
    alternate("reservations", subjects, settings)
    rows = []
    for subject in subjects:
        cells = (
            spread(subject.values("per_second"), ".0f"),
            spread(subject.values("ms")),
            spread(subject.values("server_ms")),
        )
        rows.append(row(subject, *cells))
    head = ("reservations and releases", "reservations per second", "ms of one, median")
    return table((*head, "CPU ms of the database"), rows)


def nodes_small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB with `next` over one and two nodes, in one directory on tmpfs."""
    subjects = []
    count = count_of(settings, AT_ONCE)
    with source(settings.tmpfs, count * FILE_SIZE) as data, ExitStack() as stack:
        files = [prepare(part) for part in data.parts(count, FILE_SIZE)]
        peer = galileod_builds(peers)[0]
        alone = stack.enter_context(peer.started(data.folder / "alone"))
        subjects.append(replace(by_next(alone, files, CONNECTIONS), name="SQLite, 1 process"))
        for nodes in NODES:
            url = _postgresql().new_database()
            store = data.folder / f"shared by {nodes}"
            running = [
                stack.enter_context(
                    _node(peer, url, number, store).started(data.folder / f"{nodes}-{number}")
                )
                for number in range(nodes)
            ]
            name = f"PostgreSQL, {nodes} node{'s' * (nodes > 1)}"
            subjects.append(Subject(name, partial(_send, running, files)))
        alternate("nodes-small", subjects, settings)
    rows = []
    for subject in subjects:
        database = subject.values("server_ms") if "PostgreSQL" in subject.name else []
        cells = (
            spread(subject.values("files"), ".0f"),
            spread(subject.values("cpu_ms")),
            spread(database),
        )
        rows.append(row(subject, *cells))
    head = (f"{count} files", "files per second", "CPU ms per file")
    return table((*head, "and of the database"), rows)


@cache
def _postgresql() -> Postgresql:
    """PostgreSQL, which all benchmarks of one run share."""
    engine = Postgresql()
    atexit.register(engine.stop)
    engine.__enter__()
    engine.kill("server")
    engine.spawn_server(*SAFE)
    return engine


def _server_cpu() -> float:
    return cpu_seconds(_postgresql().pid("server"))


def _reserve(nodes: int, users: int, at_once: int, count: int) -> Run:
    program = Path(__file__).with_name("reservations.py")
    url = _postgresql().new_database()
    with ExitStack() as stack:
        processes = []
        for number in range(nodes):
            values = map(str, (users, at_once, count))
            command: list[str | Path] = [sys.executable, program, url, f"node{number}", *values]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            processes.append(process)
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a node did not start")
        before = _server_cpu()
        said = [json.loads(text) for text in _finish(processes)]
        cpu = _server_cpu() - before
    seconds = max(ended for _, ended, _ in said) - min(began for began, _, _ in said)
    taken = [each for _, _, every in said for each in every]
    extra = {
        "per_second": len(taken) / seconds,
        "ms": statistics.median(taken) * 1000,
        "server_ms": cpu * 1000 / len(taken),
    }
    return Run(len(taken), seconds, cpu, extra)


def _finish(processes: Sequence["subprocess.Popen[str]"]) -> list[str]:
    """Let all begin; returns what each has printed."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()
    return [process.communicate()[0] for process in processes]


def _node(peer: Peer, url: str, number: int, store: Path) -> Peer:
    """A build of galileod as a node with its files in `store`."""

    def command(setup: Setup) -> Command:
        program = peer.command(setup)
        config = setup.place / "galileod.toml"
        text = config.read_text().replace(str(setup.store), str(store))
        config.write_text(f'{text}\nledger.url = "{url}"\nledger.node = "node{number}"\n')
        store.mkdir(exist_ok=True)
        return program

    def check(_setup: Setup, parts: Sequence[Part]) -> None:
        check_and_remove(store, parts)

    return replace(peer, name=f"node {number}", command=command, check=check)


def _send(nodes: Sequence[Running], files: Sequence[Prepared]) -> Run:
    """Send the files on CONNECTIONS connections, which the nodes get in turn."""
    loop = EventLoop()
    connections = list[Connection]()
    cpu, server = [cpu_seconds(node.pid) for node in nodes], _server_cpu()
    began = time.perf_counter()
    try:
        for first, node in zip(range(CONNECTIONS), cycle(nodes), strict=False):
            connection = node.connect()
            connections.append(connection)
            share = files[first::CONNECTIONS]
            loop.add(connection, node.closing(partial(send_files, files=share))(connection))
        _drain(loop.finished())
    finally:
        for connection in connections:
            connection.socket.close()
    seconds = time.perf_counter() - began
    used = sum(cpu_seconds(node.pid) - one for node, one in zip(nodes, cpu, strict=True))
    count = len(files)
    extra = {
        "files": count / seconds,
        "cpu_ms": used * 1000 / count,
        "server_ms": (_server_cpu() - server) * 1000 / count,
    }
    nodes[0].check_and_remove([file.part for file in files])
    return Run(sum(file.part.size for file in files), seconds, used, extra)


def _drain(finished: Iterator[Connection]) -> None:
    for _ in finished:
        pass
