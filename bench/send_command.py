"""Benchmarks of the command galileo-send: one file, compared with `curl -T`, and many small files.

The time is that from the start of the process to its end.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

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
    subject_of,
)
from measure import table as as_table
from processes import cpu_seconds, peak_memory
from servers import Command, Peer, Running, available
from small_files import FILE_SIZE, count_of
from source_file import source
from stored import Void

SEND = Path(sys.executable).with_name("galileo-send")

FILES, AT_ONCE = 2000, 8
FILES_TARGET = 1500
"""Minimum files per second, the start of the command included."""
LARGE = 5
"""GiB of the file that shows whether the memory depends on the size."""

RATE_TARGET = 0.4
"""Minimum rate, relative to curl and nginx. galileo-send and galileod hash the file."""

POLL_SECONDS = 0.01
"""Seconds between two reads of a command's peak memory."""

MEMORY_TARGET = 80
"""Maximum memory of the command in MiB."""


def send(settings: Settings, peers: Sequence[Peer]) -> str:
    """galileo-send to galileod, and curl to nginx, on tmpfs; the start of the command included."""
    subjects: list[Subject] = []
    count = count_of(settings, AT_ONCE, FILES)
    with source(settings.tmpfs, settings.scaled(1)) as data, ExitStack() as stack:
        (whole,) = data.parts(1)
        many = data.parts(count, FILE_SIZE)
        folder, large = data.folder / "many", data.folder / "large"
        files = f"{count} files of 10 kB"
        write_out(many, folder)
        large.touch()
        os.truncate(large, settings.scaled(LARGE))
        named = Part(data.path.name, whole.source, whole.offset, whole.size, whole.sha1)
        servers = {
            peer.name: stack.enter_context(peer.started(data.folder / peer.name))
            for peer in available(peers)
            if peer.name in ("galileod", "nginx")
        }

        def subject(name: str, to: str, command: Command, parts: Sequence[Part], size: int) -> None:
            if server := servers.get(to):
                once = partial(timed, command, server, parts, size)
                subjects.append(Subject(name, once))

        if server := servers.get("galileod"):
            url = f"ws://127.0.0.1:{server.port}/upload"
            start: list[str | Path] = [SEND, "--quiet"]
            subject("galileo-send", "galileod", [*start, url, data.path], [named], data.size)
            bare = [*start, "--hash", "none", url, data.path]
            subject("galileo-send --hash none", "galileod", bare, [named], data.size)
            first = [*start, url, folder / many[0].name]
            subject("1 file of 10 kB", "galileod", first, many[:1], FILE_SIZE)
            small = [*start, "--recursive", url, folder]
            subject(files, "galileod", small, many, count * FILE_SIZE)
            small = [*start, "--parallel", str(AT_ONCE), "--recursive", url, folder]
            subject(f"{files}, --parallel {AT_ONCE}", "galileod", small, many, count * FILE_SIZE)
            size = settings.scaled(LARGE)
            subject(f"{LARGE} times the size", "galileod", [*start, url, large], [], size)
        if server := servers.get("nginx"):
            put: list[str | Path] = [
                "curl",
                "-sS",
                "--fail",
                "-T",
                data.path,
                f"http://127.0.0.1:{server.port}/",
            ]
            subject("curl -T to nginx", "nginx", put, [named], data.size)
        alternate("send", subjects, settings)
    curl = subject_of(subjects, "curl -T to nginx")
    started = subject_of(subjects, "1 file of 10 kB")
    rows = []
    for one in subjects:
        many_files = one.name.startswith(files)
        ratios = one.ratios_to(curl) if curl and curl is not one and "10 kB" not in one.name else []
        of_start = started.ratios_to(one, "seconds") if started and many_files else []
        per_second, memory = one.values("files"), one.values("memory")
        cells = (
            spread(ratios),
            at_least(RATE_TARGET, ratios) if one.name == "galileo-send" else "-",
            spread(one.values("rate"), ".0f"),
            spread(per_second, ".0f"),
            at_least(FILES_TARGET, per_second, ".0f") if one.name == files else "-",
            spread(of_start),
            spread(memory, ".0f"),
            at_most(MEMORY_TARGET, memory, ".0f") if "galileo-send" in one.name else "-",
            spread(one.values("client_cpu")),
        )
        rows.append(row(one, *cells))
    head = (
        "command",
        "of curl's rate",
        "target",
        "MB/s",
        "files per second",
        "target",
        "of its time for 1 file",
        "memory, MiB",
        "target",
        "CPU s of the command",
    )
    return as_table(head, rows)


def write_out(parts: Sequence[Part], folder: Path) -> None:
    """Write each part to a file in `folder`."""
    folder.mkdir()
    for part in parts:
        (folder / part.name).write_bytes(os.pread(part.source, part.size, part.offset))


def peak_memory_or_zero(pid: int) -> float:
    """Peak memory of a process in MiB; 0 if the process is ending."""
    try:
        return peak_memory(pid)
    except (OSError, IndexError):
        return 0.0


def timed(command: Command, server: Running, parts: Sequence[Part], size: int) -> Run:
    """Run a command, and verify the stored files by `parts`; if that is empty, only the size."""
    if server.failure:
        raise Void(server.failure)
    before, began = cpu_seconds(server.pid), time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # Polled, since ru_maxrss of wait4(2) includes the memory of this process before exec.
    memory = 0.0
    while True:
        memory = max(memory, peak_memory_or_zero(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise Void(f"{Path(command[0]).name} exited with status {process.returncode}")
    cpu = cpu_seconds(server.pid) - before
    if parts:
        server.check_and_remove(parts)
    else:
        stored = [path for path in server.store.iterdir() if path.is_file()]
        if [path.stat().st_size for path in stored] != [size]:
            raise Void("the size of the stored file is wrong")
        stored[0].unlink()
    extra = {
        "files": len(parts or [0]) / seconds,
        "memory": memory,
        "client_cpu": usage.ru_utime + usage.ru_stime,
    }
    return Run(size, seconds, cpu, extra)
