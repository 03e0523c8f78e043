"""Interleaved runs, statistics of their figures, and the tables."""

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, truediv
from pathlib import Path

from servers import Peer, Void

GIB = 1 << 30


@dataclass(frozen=True)
class Settings:
    """What was asked for. Sizes are bytes."""

    size: int
    runs: int
    tmpfs: Path
    disk: Path
    quick: bool = False
    """Whether nothing is judged, so that nothing need be warm or at rest."""

    def part(self, of_gib: float) -> int:
        """The size that stands for so many GiB of the full run."""
        return int(self.size * of_gib)


@dataclass(frozen=True)
class Run:
    """One run: what it took, and the CPU seconds of the server's processes."""

    size: int
    seconds: float
    cpu: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.size / 1e6 / self.seconds

    @property
    def cpu_per_gib(self) -> float:
        """CPU seconds for 1 GiB."""
        return self.cpu * GIB / self.size


@dataclass
class Subject:
    """One of the things that are measured in turn. After a void run it is not run again."""

    name: str
    once: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)
    void: str = ""

    def values(self, of: str) -> list[float]:
        """A figure of each run: an attribute, or one of `extra`."""
        return [run.extra[of] if of in run.extra else attrgetter(of)(run) for run in self.runs]

    def over(self, other: "Subject | None", of: str = "rate") -> list[float]:
        """The ratio to another subject, run by run; none if there is nothing to compare with."""
        # CPU time is counted in steps of 10 ms, of which a tiny run may take none.
        if other is None or not self.runs or 0 in other.values(of):
            return []
        return list(map(truediv, self.values(of), other.values(of)))


def alternate(benchmark: str, subjects: Sequence[Subject], settings: Settings) -> None:
    """Run each subject in turn, after a first time that does not count."""
    for number in range(0 if settings.quick else -1, settings.runs):
        for subject in subjects:
            if subject.void:
                continue
            if not settings.quick:
                os.sync()  # data that others left unwritten must not cost this run
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
    """Median, least and most."""
    if not values:
        return "-"
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def at_least(aim: float, values: Sequence[float], form: str = ".2f") -> str:
    """An aim, and whether the median meets it."""
    met = bool(values) and statistics.median(values) >= aim
    return _judged(f"≥ {format(aim, form)}", values, met)


def at_most(aim: float, values: Sequence[float], form: str = ".2f") -> str:
    """The same the other way round."""
    met = bool(values) and statistics.median(values) <= aim
    return _judged(f"≤ {format(aim, form)}", values, met)


def _judged(aim: str, values: Sequence[float], met: bool) -> str:
    if not values:
        return aim
    return f"{aim}: {'met' if met else '**missed**'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(subject: Subject, *cells: str) -> list[str]:
    """A row of a subject, which says so if the subject is void."""
    if subject.void:
        return [subject.name, "VOID", *("-" for _ in cells[1:])]
    return [subject.name, *cells]


def unavailable_rows(peers: Sequence[Peer], cells: int) -> list[list[str]]:
    """A row for each peer that cannot be had."""
    missing = [peer for peer in peers if peer.missing]
    return [[peer.name, f"not available: {peer.missing}", *["-"] * (cells - 1)] for peer in missing]


def subject_of(subjects: Sequence[Subject], name: str) -> Subject | None:
    """The subject of this name, if it has figures."""
    return next((subject for subject in subjects if subject.name == name and subject.runs), None)
