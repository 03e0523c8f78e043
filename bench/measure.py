"""Alternating runs, the statistics of their results, and the tables."""

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, truediv
from pathlib import Path

from servers import Peer
from stored import Void

GIB = 1 << 30


@dataclass(frozen=True)
class Settings:
    """The settings of all benchmarks. `size` is in bytes."""

    size: int
    runs: int
    tmpfs: Path
    disk: Path
    quick: bool = False
    """Whether the results do not matter: no warm-up, and no sync before each run."""
    may_install: bool = True
    """Whether other programs may be installed."""

    def scaled(self, gib: float) -> int:
        """The size in bytes that replaces `gib` GiB if `size` is not 1 GiB."""
        return int(self.size * gib)


@dataclass(frozen=True)
class Run:
    """One run: the bytes, the seconds, the CPU seconds of the server, and other results."""

    size: int
    seconds: float
    cpu: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Megabytes per second."""
        return self.size / 1e6 / self.seconds

    @property
    def cpu_per_gib(self) -> float:
        """CPU seconds per GiB."""
        return self.cpu * GIB / self.size


@dataclass
class Subject:
    """A server, or a server and its settings, to measure. After a void run it is not run again."""

    name: str
    once: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)
    void: str = ""

    def values(self, of: str) -> list[float]:
        """A result of each run: an item of `extra`, or an attribute."""
        return [run.extra[of] if of in run.extra else attrgetter(of)(run) for run in self.runs]

    def ratios_to(self, other: "Subject | None", of: str = "rate") -> list[float]:
        """The ratio of each run to the same run of another subject; empty if there is none."""
        # CPU time has a resolution of 10 ms, so that a short run may have 0.
        if other is None or not self.runs or 0 in other.values(of):
            return []
        return list(map(truediv, self.values(of), other.values(of)))


def alternate(benchmark: str, subjects: Sequence[Subject], settings: Settings) -> None:
    """Run all subjects in turn, `settings.runs` times, after a warm-up run of each."""
    for number in range(0 if settings.quick else -1, settings.runs):
        for subject in subjects:
            if subject.void:
                continue
            if not settings.quick:
                os.sync()  # writing the data of earlier runs must not slow this one down
            try:
                run = subject.once()
            except (OSError, RuntimeError, ValueError, Void) as error:
                subject.void, subject.runs = str(error) or type(error).__name__, []
                print(
                    f"{benchmark}: {subject.name} is void: {subject.void}",
                    file=sys.stderr,
                    flush=True,
                )
                continue
            if number >= 0:
                subject.runs.append(run)
            label = f"run {number + 1} of {settings.runs}" if number >= 0 else "warm-up"
            print(
                f"{benchmark}: {label}: {subject.name}: {run.rate:.0f} MB/s in {run.seconds:.2f} s",
                file=sys.stderr,
                flush=True,
            )


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, and the minimum and maximum in parentheses."""
    if not values:
        return "-"
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def at_least(target: float, values: Sequence[float], form: str = ".2f") -> str:
    """A minimum, and whether the median meets it."""
    met = bool(values) and statistics.median(values) >= target
    return _judged(f"≥ {format(target, form)}", values, met)


def at_most(target: float, values: Sequence[float], form: str = ".2f") -> str:
    """A maximum, and whether the median meets it."""
    met = bool(values) and statistics.median(values) <= target
    return _judged(f"≤ {format(target, form)}", values, met)


def _judged(target: str, values: Sequence[float], met: bool) -> str:
    if not values:
        return target
    return f"{target}: {'met' if met else '**missed**'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(subject: Subject, *cells: str) -> list[str]:
    """The row of a subject; with VOID and the reason instead of `cells` if the subject is void."""
    if subject.void:
        reason = subject.void.splitlines()[0].replace("|", "/")
        return [subject.name, f"VOID: {reason}", *("-" for _ in cells[1:])]
    return [subject.name, *cells]


def unavailable_rows(peers: Sequence[Peer], cells: int) -> list[list[str]]:
    """A row for each peer that is not available, with the reason."""
    missing = [peer for peer in peers if peer.missing]
    return [[peer.name, f"not available: {peer.missing}", *["-"] * (cells - 1)] for peer in missing]


def subject_of(subjects: Sequence[Subject], name: str) -> Subject | None:
    """The subject with this name, if it has runs."""
    return next((subject for subject in subjects if subject.name == name and subject.runs), None)
