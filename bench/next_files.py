"""Benchmark of many small files with `next`: many files on one connection."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import truediv

from clients import put_each, put_request
from connection import Part
from measure import (
    Run,
    Settings,
    Subject,
    alternate,
    at_least,
    at_most,
    row,
    spread,
    table,
    unavailable_rows,
)
from next_client import Prepared, prepare, send_files
from servers import Peer, Running, available, galileod_builds
from small_files import AT_ONCE, FILE_SIZE, count_of, run_all, send_each
from source_file import Source, source

CONNECTIONS = (1, 4)

COPYPARTY_TARGET = 1.0
"""Minimum rate, relative to the fastest way to send to copyparty."""
NGINX_TARGET = 0.4
"""Minimum rate, relative to nginx with new connections, as in `small`."""
CPU_TARGET = 0.25
"""Maximum CPU milliseconds of a file."""

Subjects = dict[tuple[str, int], Subject]
"""By the name of the peer and the number of connections; AT_ONCE are new ones for each file."""


def next_on_tmpfs(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 kB on tmpfs with `next`, and with PUT: the next one after the response."""
    ours, theirs = Subjects(), Subjects()
    with small_files(settings) as (data, parts), ExitStack() as stack:
        files = [prepare(part) for part in parts]
        for peer in galileod_builds(peers):
            server = stack.enter_context(peer.started(data.folder / peer.name))
            ours |= {(peer.name, count): by_next(server, files, count) for count in CONNECTIONS}
        for peer in available(peers):
            if peer.name in ("nginx", "copyparty"):
                server = stack.enter_context(peer.started(data.folder / peer.name))
                theirs |= _puts(server, parts)
        alternate("next", [*ours.values(), *theirs.values()], settings)
    best = _best([subject for (name, _), subject in theirs.items() if name == "copyparty"])
    rows = []
    for (_, count), subject in ours.items():
        files_per_second = subject.values("files")
        of_copyparty = list(map(truediv, files_per_second, best))
        of_nginx = subject.ratios_to(theirs.get(("nginx", AT_ONCE)), "files")
        cpu = subject.values("cpu_ms")
        cells = (
            spread(files_per_second, ".0f"),
            spread(of_copyparty),
            at_least(COPYPARTY_TARGET, of_copyparty),
            spread(of_nginx),
            at_least(NGINX_TARGET, of_nginx),
            spread(subject.ratios_to(theirs.get(("nginx", count)), "files")),
            spread(cpu, ".3f"),
            at_most(CPU_TARGET, cpu),
        )
        rows.append(row(subject, *cells))
    for subject in theirs.values():
        cpu = subject.values("cpu_ms")
        cells = (spread(subject.values("files"), ".0f"), *"-----", spread(cpu, ".3f"), "-")
        rows.append(row(subject, *cells))
    head = (
        f"{len(parts)} files",
        "files per second",
        "of copyparty's best rate",
        "target",
        "of nginx's rate with new connections",
        "target",
        "of nginx's rate, kept alive, as many",
        "CPU ms per file",
        "target",
    )
    return table(head, rows + unavailable_rows(peers, 8))


@contextmanager
def small_files(settings: Settings) -> Iterator[tuple[Source, list[Part]]]:
    """The files that each run sends, and where they come from."""
    count = count_of(settings, AT_ONCE)
    with source(settings.tmpfs, count * FILE_SIZE) as data:
        yield data, data.parts(count, FILE_SIZE)


def by_next(
    server: Running, files: Sequence[Prepared], count: int, port: int | None = None
) -> Subject:
    """The subject that sends the files with `next`, divided among `count` connections.

    `port` is that of a proxy for the server.
    """

    def once() -> Run:
        shares = [files[first::count] for first in range(count)]
        exchanges = (partial(send_files, files=share) for share in shares)
        return run_all(server, [file.part for file in files], exchanges, count, port)

    return Subject(f"{server.peer.name}, next, {_connections(count)}", once)


def _puts(server: Running, parts: Sequence[Part]) -> Subjects:
    """The ways to send files with PUT."""
    requests = [put_request(part) for part in parts]
    name = server.peer.name

    def keeping_alive(count: int) -> Run:
        shares = [requests[first::count] for first in range(count)]
        exchanges = (partial(put_each, requests=share) for share in shares)
        return run_all(server, parts, exchanges, count)

    ways = {
        (name, count): Subject(
            f"{name}, PUT, {_connections(count)} kept alive", partial(keeping_alive, count)
        )
        for count in CONNECTIONS
    }
    new = Subject(
        f"{name}, PUT, {AT_ONCE} new connections at once", partial(send_each, server, parts)
    )
    return ways | {(name, AT_ONCE): new}


def _connections(count: int) -> str:
    return f"{count} connection{'s' if count > 1 else ''}"


def _best(subjects: Sequence[Subject]) -> list[float]:
    """The highest rate of each run, in files per second."""
    rates = [subject.values("files") for subject in subjects if subject.runs]
    return [max(of_a_run) for of_a_run in zip(*rates, strict=True)]
