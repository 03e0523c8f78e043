"""Benchmarks of uploads into object storage: one large file, many small ones, and many at once.

All store into the same Ceph, which keeps objects in memory, each into a bucket of its own. After
each run the objects are read back and compared with what was sent.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import truediv

from connection import Part
from install_servers import UnavailableError
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
from next_client import prepare
from next_files import by_next
from processes import peak_memory, reset_peak_memory
from s3_peers import BOTO3, TUS, boto3_upload, put_each, stage
from servers import Peer, Running, Start, galileod_builds
from single_uploads import upload
from small_files import AT_ONCE, count_of, run_all, send_each

SENDING = 0.45
"""CPU seconds in which botocore sends 1 GiB in parts from memory, as measured separately."""

CPU_TARGET = 1.15
"""Maximum CPU time of one upload, relative to that of a local upload and of SENDING."""

RATE_TARGET = 1.0
"""Minimum rate of one upload, relative to TUS."""

LEAST = 12 << 20
"""Minimum bytes of that upload: more than one part."""

FILES, FILE_SIZE = 1000, 10 << 10
CONNECTIONS = (1, 8)
TUS_SHARE = 10
"""TUS gets only one of so many files: it takes more than 10 ms for each."""
THREADS = 16
PUTS = f"botocore's PutObject in {THREADS} threads"

UPLOADS, UPLOAD_GIB = 64, 1 / 16
MANY_RUNS = 2
"""Maximum runs of UPLOADS: each stores 4 GiB."""

MEMORY_TARGET = 256 + 100
"""Maximum memory of the daemon in MiB: `chunks.memory`, and 100 more."""


def s3(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time into object storage; the CPU time is that of the server alone."""
    subjects, missing = list[Subject](), list[Peer]()
    with stage(settings, max(settings.scaled(1), LEAST)) as run:
        (whole,) = run.data.parts(1)
        for peer in galileod_builds(peers):
            local = run.start(peer, peer.name)
            subjects.append(Subject(f"{peer.name}, local", partial(upload, local, whole)))
            server = run.start_with_bucket(peer, peer.name)
            subjects.append(Subject(peer.name, partial(upload, server, whole)))
        other = run.tus()
        if other.missing:
            missing.append(other)
        else:
            subjects.append(Subject(TUS, partial(upload, run.start(other, "tus"), whole)))
        try:
            once = boto3_upload(run.place(), whole, may_install=settings.may_install)
        except UnavailableError as reason:
            missing.append(replace(other, name=BOTO3, missing=str(reason)))
        else:
            subjects.append(Subject(BOTO3, once))
        alternate("s3", subjects, settings)
    rows = []
    for subject in subjects:
        local_one = subject_of(subjects, f"{subject.name}, local")
        of_tus = subject.ratios_to(subject_of(subjects, TUS))
        cpu = subject.values("cpu_per_gib")
        ours = [one + SENDING for one in local_one.values("cpu_per_gib")] if local_one else []
        relative = list(map(truediv, cpu, ours))
        cells = (
            spread(of_tus),
            at_least(RATE_TARGET, of_tus) if local_one else "-",
            spread(subject.ratios_to(subject_of(subjects, BOTO3))),
            spread(subject.values("rate"), ".0f"),
            spread(cpu),
            spread(relative),
            at_most(CPU_TARGET, relative) if local_one else "-",
        )
        rows.append(row(subject, *cells))
    head = (
        "one upload",
        f"of the rate of {TUS}",
        "target",
        "of boto3's rate",
        "MB/s",
        "CPU s/GiB",
        f"of the local upload's and {SENDING}",
        "target",
    )
    return table(head, rows + unavailable_rows(missing, 7))


def s3_small(settings: Settings, peers: Sequence[Peer]) -> str:
    """Files of 10 KiB into object storage: with `next`, by tus, and by PutObject alone."""
    subjects = list[Subject]()
    count = count_of(settings, AT_ONCE, FILES)
    with stage(settings, count * FILE_SIZE) as run:
        parts = run.data.parts(count, FILE_SIZE)
        files = [prepare(part) for part in parts]
        for peer in galileod_builds(peers):
            server = run.start_with_bucket(peer, peer.name)
            subjects += [by_next(server, files, connections) for connections in CONNECTIONS]
        other = run.tus()
        if not other.missing:
            few = parts[::TUS_SHARE]
            subjects.append(Subject(TUS, partial(send_each, run.start(other, "tus"), few)))
        subjects.append(Subject(PUTS, partial(put_each, run.place(), parts, THREADS)))
        alternate("s3-small", subjects, settings)
    rows = []
    for subject in subjects:
        cells = (
            spread(subject.values("files"), ".0f"),
            spread(subject.ratios_to(subject_of(subjects, TUS), "files")),
            spread(subject.ratios_to(subject_of(subjects, PUTS), "files")),
            spread(subject.values("cpu_ms")),
        )
        rows.append(row(subject, *cells))
    head = (f"{count} files", "files per second", f"of {TUS}", "of PutObject", "CPU ms per file")
    missing = [other] if other.missing else []
    return table(head, rows + unavailable_rows(missing, 4))


def s3_many(settings: Settings, peers: Sequence[Peer]) -> str:
    """64 uploads of 64 MiB at the same time into object storage: the memory of the daemon."""
    subjects = list[Subject]()
    with stage(settings, settings.scaled(1)) as run:
        parts = run.data.parts(UPLOADS, settings.scaled(UPLOAD_GIB))
        for peer in galileod_builds(peers):
            server = run.start_with_bucket(peer, peer.name)
            subjects.append(Subject(peer.name, partial(_at_once, server, parts)))
        few = replace(settings, runs=min(settings.runs, MANY_RUNS), quick=True)  # no warm-up
        alternate("s3-many", subjects, few)
    rows = []
    for subject in subjects:
        memory = subject.values("memory")
        cells = (
            spread(memory, ".0f"),
            at_most(MEMORY_TARGET, memory, ".0f"),
            spread(subject.values("rate"), ".0f"),
            spread(subject.values("cpu_per_gib")),
        )
        rows.append(row(subject, *cells))
    head = (f"{UPLOADS} uploads", "peak memory, MiB", "target", "MB/s in total", "CPU s/GiB")
    return table(head, rows)


def _at_once(server: Running, parts: Sequence[Part]) -> Run:
    """Run all uploads at the same time, each as soon as the server is ready for it."""

    def sending(part: Part) -> Start:
        return lambda connection: server.peer.upload(connection, part)

    reset_peak_memory(server.pid)
    run = run_all(server, parts, map(sending, parts), len(parts))
    return replace(run, extra={"memory": peak_memory(server.pid)})
