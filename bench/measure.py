"""Runs that take turns, what is made of their figures, and the tables."""

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, truediv
from pathlib import Path

from peers import Peer, Void

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
class Lane:
    """What is measured in turn with others. After a run that is void there are no more."""

    name: str
    once: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)
    void: str = ""

    def values(self, of: str) -> list[float]:
        """A figure of each run: an attribute, or one of `extra`."""
        return [run.extra[of] if of in run.extra else attrgetter(of)(run) for run in self.runs]

    def over(self, other: "Lane | None", of: str = "rate") -> list[float]:
        """The ratio to another lane, run by run; none if there is nothing to compare with."""
        # CPU time is counted in steps of 10 ms, of which a tiny run may take none.
        if other is None or not self.runs or 0 in other.values(of):
            return []
        return list(map(truediv, self.values(of), other.values(of)))


def alternate(work: str, lanes: Sequence[Lane], settings: Settings) -> None:
    """Run each lane in turn, after a first time that does not count."""
    for number in range(0 if settings.quick else -1, settings.runs):
        for lane in lanes:
            if lane.void:
                continue
            if not settings.quick:
                os.sync()  # what others left to be written is no business of this one
            try:
                run = lane.once()
            except (OSError, RuntimeError, ValueError, Void) as error:
                lane.void, lane.runs = str(error) or type(error).__name__, []
                print(f"{work}: {lane.name} is void: {lane.void}", file=sys.stderr, flush=True)
                continue
            if number >= 0:
                lane.runs.append(run)
            label = f"run {number + 1} of {settings.runs}" if number >= 0 else "warm-up"
            print(
                f"{work}: {label}: {lane.name}: {run.rate:.0f} MB/s in {run.seconds:.2f} s",
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


def row(lane: Lane, *cells: str) -> list[str]:
    """A row of a lane, which says so if the lane is void."""
    if lane.void:
        return [lane.name, "VOID", *("-" for _ in cells[1:])]
    return [lane.name, *cells]


def not_there(peers: Sequence[Peer], cells: int) -> list[list[str]]:
    """A row for each peer that cannot be had."""
    missing = [peer for peer in peers if peer.missing]
    return [[peer.name, f"not there: {peer.missing}", *["-"] * (cells - 1)] for peer in missing]


def lane_of(lanes: Sequence[Lane], name: str) -> Lane | None:
    """The lane of this name, if it has figures."""
    return next((lane for lane in lanes if lane.name == name and lane.runs), None)
