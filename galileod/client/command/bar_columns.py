"""The columns of a progress bar: a name, the bar, and numbers as far as there is room."""

from collections.abc import Callable
from typing import Final, Literal

from rich.cells import cell_len
from rich.progress import BarColumn, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from galileod.client.formatting import format_duration
from galileod.units import human_size

WIDE: Final = 60
"""Minimum terminal columns for sizes and rates to be shown."""

_NAME: Final = 0.3
_SHORTEST: Final = 8


class _Column(ProgressColumn):
    """A string made from a task, in a column of fixed width."""

    def __init__(self, text: Callable[[Task], str], width: int, *, right: bool = True) -> None:
        side: Literal["left", "right"] = "right" if right else "left"
        super().__init__(Column(width=width, no_wrap=True, overflow="ellipsis", justify=side))
        self._text = text

    def render(self, task: Task) -> Text:
        """As Text: in a str rich would interpret [brackets] as markup."""
        return Text(self._text(task))


def _percent(task: Task) -> str:
    return f"{int(task.percentage)}%"


def _sizes(task: Task) -> str:
    return human_size(task.completed)


def _rate(task: Task) -> str:
    return f"{human_size(task.speed)}/s" if task.speed else ""


def _left(task: Task) -> str:
    return format_duration(task.time_remaining) if task.time_remaining else ""


def columns(width: int) -> tuple[ProgressColumn, ...]:
    """The columns that fit a terminal of this width."""
    room = max(_SHORTEST, int(width * _NAME))
    name = _Column(lambda task: shortened(task.description, room), room, right=False)
    bar = BarColumn(None, table_column=Column(ratio=1))
    if width < WIDE:
        return (name, bar, _Column(_percent, 4), _Column(_left, 7))
    numbers = [(_percent, 4), (_sizes, 10), (_rate, 12), (_left, 7)]
    return (name, bar, *(_Column(text, width) for text, width in numbers))


def shortened(name: str, width: int) -> str:
    """A name in `width` columns. Its middle is cut out: the end often distinguishes names."""
    if cell_len(name) <= width:
        return name
    tail = name
    while cell_len(tail) > (width - 1) // 2:
        tail = tail[1:]
    head = name
    while cell_len(head) > width - 1 - cell_len(tail):
        head = head[:-1]
    return f"{head}…{tail}"
