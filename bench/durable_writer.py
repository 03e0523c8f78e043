"""Compiles and runs durable_writer.c, the limit of what a disk stores durably.

It is written in C, since Python's threads are slower than the disk.
"""

import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

from connection import Part
from measure import Run
from peers import BENCH
from stored import Void, check_and_remove

THREADS = 16
SECONDS = 600
"""Time limit in seconds for a run."""


def compile_writer(program: Path) -> None:
    """Compile the program. Raises Void if there is no compiler."""
    command: list[str | Path] = ["cc", "-std=c11", "-O2", "-Wall", "-Werror", "-pthread"]
    command += ["-o", program, BENCH / "durable_writer.c"]
    try:
        subprocess.run(command, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Void(f"no C compiler: {error}") from None


def write_durably(
    program: Path, source: Path, parts: Sequence[Part], target: Path, aside: Path
) -> Run:
    """Store the parts, which begin at the start of `source`; verify them, and move them `aside`."""
    size = parts[0].size
    numbers = map(str, (size, len(parts)))
    command: list[str | Path] = [program, source, *numbers, target, str(THREADS)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, timeout=SECONDS, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    check_and_remove(target, parts, aside)
    seconds = float(done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    files = {"files": len(parts) / seconds, "cpu_ms": cpu * 1000 / len(parts)}
    return Run(size * len(parts), seconds, cpu, files)
