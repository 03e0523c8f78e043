"""Progress bars on a terminal (rich): one for each running upload, and one for all."""

import os
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from attrs import define
from rich.console import Console
from rich.live import Live
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from galileod.client.errors import SendError
from galileod.client.options import Receipt
from galileod.printable import printable

from .bar_columns import columns
from .jobs import Job
from .output import Lines
from .report_text import TextReporter, Verbosity

REFRESH: Final = 4
"""Number of times per second that the bars are drawn; each takes some milliseconds."""

MAX_LINES: Final = 1000
"""Maximum lines in memory that wait for the next drawing. At this number they are drawn at once,
which blocks on a slow terminal."""

MARGIN: Final = 2
"""Columns left free at the right edge, so that the ^C that a terminal echoes does not wrap."""

_LONGEST: Final = 255
"""Maximum characters of a name that are used: the limit of most file systems."""


class _Above(Lines):
    """Lines that are printed above the bars at the next drawing."""

    def __init__(self, full: Callable[[], None]) -> None:
        self.limit = MAX_LINES
        self._full = full
        self._lines: deque[str] = deque()  # appended by one thread, removed by another

    def write(self, line: str) -> None:
        """Add a line for the next drawing."""
        self._lines.append(line)
        if len(self._lines) >= self.limit:
            self._full()

    def take(self) -> list[str]:
        """Remove and return all lines."""
        return [self._lines.popleft() for _ in range(len(self._lines))]


@define
class _Bar:
    """A running upload; `task` is its id in rich, once it was drawn."""

    name: str
    size: int | None
    sent: int = 0
    jumped: bool = False
    task: TaskID | None = None


class BarReporter(TextReporter):
    """A `TextReporter` with progress bars below its lines while it is entered.

    Its methods only store what changed. A thread draws the bars a few times per second, at most as
    many as the terminal has rows, so that neither many files nor a slow terminal delay the uploads.
    """

    def __init__(
        self,
        count: int,
        size: int,
        verbosity: Verbosity,
        out: Lines | None,
        console: Console | None = None,
    ) -> None:
        """`out` is standard output, or None if that is the terminal with the bars."""
        self._console = console or Console(stderr=True, highlight=False)
        self._above = _Above(self.draw)
        super().__init__(out or self._above, self._above, verbosity)
        self._progress = Progress(console=self._console, expand=True)  # used for its tasks only
        self._size = size
        self._total = self._progress.add_task("", total=size or None)
        self._bars: dict[int, _Bar] = {}
        self._count = count
        self._ended = 0
        self._done = 0
        self._jumped = False
        self._drawing = threading.Lock()
        self._closing = threading.Event()
        self._drawer = threading.Thread(target=self._draw_repeatedly, daemon=True)
        self._live = Live(
            console=self._console, transient=True, auto_refresh=False, get_renderable=self._table,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._live.start()
        self._drawer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._drawer.join()
        self.draw()
        self._live.stop()
        self._above.limit = 1  # the thread has ended: each line is drawn at once

    def _draw_repeatedly(self) -> None:
        while not self._closing.wait(1 / REFRESH):
            self.draw()

    def draw(self) -> None:
        """Draw the lines and the bars."""
        with self._drawing, self._console:  # buffers it into one write
            if lines := self._above.take():
                # Text: in a str rich would interpret [brackets] as markup.
                self._console.print(Text("\n".join(lines)), soft_wrap=True)
            self._live.refresh()

    def _table(self) -> Table:
        """The bars, at most as many as there are rows."""
        size, progress = self._console.size, self._progress
        bars = [] if self._closing.is_set() else list(self._bars.values())
        shown = bars[: max(1, size.height - 2)]
        progress.columns = columns(size.width - MARGIN)
        drawn = {bar.task for bar in shown}
        for task in set(progress.task_ids) - drawn - {self._total}:
            progress.remove_task(task)
        known = set(progress.task_ids)
        for bar in shown:
            if bar.task is None or bar.task not in known:
                bar.task = progress.add_task(bar.name, completed=bar.sent)
            if bar.jumped:
                bar.jumped = False
                progress.reset(bar.task, completed=bar.sent)
            progress.update(bar.task, completed=bar.sent, total=bar.size)
        completed = self._done + sum(bar.sent for bar in bars)
        if self._jumped:
            self._jumped = False
            progress.reset(self._total, completed=completed)
        # A single file needs no total once its own bar is shown.
        progress.update(
            self._total,
            description=f"{self._ended} of {self._count}",
            completed=completed,
            total=self._size or None,
            visible=not self._closing.is_set() and (self._count > 1 or not bars),
        )
        table = progress.make_tasks_table(progress.tasks)
        table.width = size.width - MARGIN
        return table

    def started(self, job: Job, attempt: int, *, whole: bool = False) -> None:
        """Add the bar; at a further attempt it stays as it is. A `whole` file has none."""
        super().started(job, attempt, whole=whole)
        if not whole and id(job) not in self._bars:
            name = printable(os.path.basename(job.label))[-_LONGEST:]
            self._bars[id(job)] = _Bar(name, job.size)

    def resumed(self, job: Job, offset: int, size: int) -> None:
        """Move the bar. What was not sent now must not count for the rate."""
        super().resumed(job, offset, size)
        bar = self._bars[id(job)]
        bar.sent, bar.size, bar.jumped = offset, size, True
        self._jumped = True

    def moved(self, job: Job, sent: int, size: int) -> None:
        """Update the bar."""
        bar = self._bars[id(job)]
        bar.sent, bar.size = sent, size

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """Replace the bar by a line."""
        self._end(job, receipt.size)
        super().stored(job, receipt, attempts)

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """Replace the bar by a line."""
        self._end(job, job.size or 0)
        super().failed(job, error, attempts)

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:
        """Replace the bar by a line."""
        self._end(job, job.size or 0)
        super().dropped(job, error, attempts)

    def held(self, job: Job) -> None:
        """Leave it out: its bytes must not count for the rate."""
        self._ended += 1
        self._size -= job.size or 0
        super().held(job)

    def _end(self, job: Job, sent: int) -> None:
        self._ended += 1
        self._done += sent
        self._bars.pop(id(job), None)
