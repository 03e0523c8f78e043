"""Bars on a terminal, by rich: one for each file under way, and one for all."""

import os
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from . import texts
from .errors import SendError
from .jobs import Job
from .output import Lines, PeopleReporter, Verbosity
from .values import Receipt

WIDE: Final = 60
"""Columns from which on sizes and rates are shown too."""

REFRESH: Final = 5
"""Times a second that the bars are drawn."""

_NAME: Final = 0.3
_SHORTEST: Final = 8
_LONGEST: Final = 255
"""Characters of a name that are looked at: as many as a file system takes."""


class _Column(ProgressColumn):
    """A text that is made from a task, in a column of one width."""

    def __init__(self, text: Callable[[Task], str], width: int, *, right: bool = True) -> None:
        side: Literal["left", "right"] = "right" if right else "left"
        super().__init__(Column(width=width, no_wrap=True, overflow="ellipsis", justify=side))
        self._text = text

    def render(self, task: Task) -> Text:
        """As text: rich would take [brackets] in a name for its markup."""
        return Text(self._text(task))


def _percent(task: Task) -> str:
    return f"{int(task.percentage)}%"


def _sizes(task: Task) -> str:
    return texts.size(task.completed)


def _rate(task: Task) -> str:
    return f"{texts.size(task.speed)}/s" if task.speed else ""


def _left(task: Task) -> str:
    return texts.duration(task.time_remaining) if task.time_remaining else ""


def columns(width: int) -> list[ProgressColumn]:
    """What fits on a terminal of so many columns."""
    room = max(_SHORTEST, int(width * _NAME))
    name = _Column(lambda task: shortened(task.description, room), room, right=False)
    bar = BarColumn(None, table_column=Column(ratio=1))
    if width < WIDE:
        return [name, bar, _Column(_percent, 4), _Column(_left, 7)]
    numbers = [(_percent, 4), (_sizes, 10), (_rate, 12), (_left, 7)]
    return [name, bar, *(_Column(text, width) for text, width in numbers)]


def shortened(name: str, width: int) -> str:
    """A name in so many columns: its middle goes, since its end often tells most."""
    if cell_len(name) <= width:
        return name
    tail = name
    while cell_len(tail) > (width - 1) // 2:
        tail = tail[1:]
    head = name
    while cell_len(head) > width - 1 - cell_len(tail):
        head = head[:-1]
    return f"{head}…{tail}"


class _Above(Lines):
    """Lines that scroll by above the bars."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, line: str) -> None:
        # As text: rich would take [brackets] in a name for its markup, and colour the numbers.
        self._console.print(Text(line), soft_wrap=True)


class BarReporter(PeopleReporter):
    """Lines for people, with bars below them while it is open."""

    def __init__(
        self,
        count: int,
        size: int,
        verbosity: Verbosity,
        out: Lines | None,
        console: Console | None = None,
    ) -> None:
        """`out` is standard output, or None where that is the terminal with the bars."""
        console = console or Console(stderr=True, highlight=False)
        above = _Above(console)
        super().__init__(out or above, above, verbosity)
        self._progress = Progress(
            *columns(console.width), console=console, transient=True, expand=True,
            refresh_per_second=REFRESH, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._tasks: dict[int, TaskID] = {}
        self._total: TaskID | None = None
        self._sent: dict[int, int] = {}
        self._count = count
        self._ended = 0
        self._sum = size

    def __enter__(self) -> Self:
        self._progress.start()
        if self._count > 1:
            self._total = self._progress.add_task(self._all(), total=self._sum)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def _all(self) -> str:
        return f"{self._ended} of {self._count}"

    def started(self, job: Job, attempt: int) -> None:
        """Its bar appears, or begins anew."""
        super().started(job, attempt)
        if id(job) in self._tasks:
            self._progress.reset(self._tasks[id(job)])
        else:
            name = texts.plain(os.path.basename(job.label))[-_LONGEST:]
            self._tasks[id(job)] = self._progress.add_task(name, total=job.size)
        self._progress_of(job, 0)

    def moved(self, job: Job, sent: int, size: int) -> None:
        """Its bar grows, and that of all."""
        self._progress.update(self._tasks[id(job)], completed=sent, total=size)
        self._progress_of(job, sent)

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """Its bar becomes a line."""
        self._end(job, receipt.size)
        super().stored(job, receipt, attempts)

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """Its bar becomes a line."""
        self._end(job, job.size or 0)
        super().failed(job, error, attempts)

    def _end(self, job: Job, sent: int) -> None:
        self._ended += 1
        self._progress_of(job, sent)
        self._progress.remove_task(self._tasks.pop(id(job)))
        if self._total is not None:
            self._progress.update(self._total, description=self._all())

    def _progress_of(self, job: Job, sent: int) -> None:
        before = self._sent.get(id(job), 0)
        self._sent[id(job)] = sent
        if self._total is not None:
            self._progress.advance(self._total, sent - before)
