"""Formats a line of the log for people: what matters first, and short enough for the terminal."""

import os
import time
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from structlog.typing import EventDict, WrappedLogger

from galileod.printable import printable
from galileod.units import human_size

from .events import EVENTS, Category, category_of

GAP: Final = "  "
"""Between two parts of a line."""

EVENT_WIDTH: Final = 18
"""Columns of the event, so that what follows is aligned."""

MIN_NAME: Final = 12
"""Columns that are left of the first part, the file name, if it is shortened."""

FREQUENT: Final = ("connection.", "upload.", "hook.")
"""Prefixes of the events whose lines are shortened, unless they are about a failure: its reason
must not be left out."""

_LAST: Final = ("path", "peer", "upload", "connection")
"""Fields at the end of a line. Other fields are in the order of the call."""

_COLOURS: Final = {"debug": 2, "info": 1, "warning": 33, "error": 31, "critical": 31}
"""Of the event, by level: faint, bold, yellow, red (ECMA-48, section 8.3.117)."""


class Console:
    """The last structlog processor for readable text, in colours if `stream` is a terminal.

    On a terminal a line begins with the local time of day, and frequent lines fit its width: fields
    at the end are left out, and a long name is shortened. `scheme` is that of galileod's URLs.
    """

    def __init__(self, stream: TextIO, scheme: str) -> None:
        self._is_terminal = stream.isatty()
        self._descriptor = stream.fileno()
        self._scheme = scheme

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> str:
        """The line; the lines of an exception follow."""
        stamp, level, event = (str(fields.pop(key)) for key in ("timestamp", "level", "event"))
        exception = fields.pop("exception", "")
        if self._is_terminal:
            stamp = time.strftime("%H:%M:%S")
        complete = level not in ("debug", "info") or EVENTS.get(event) is Category.FAILURE
        failed = category_of(event, fields) is Category.FAILURE
        event = printable(event)
        label = "" if level == "info" else f"{GAP}{level}"
        leading = list(_leading(event, fields, self._scheme))
        rest = [f"{key}={_shown(value)}" for key, value in _in_order(fields) if value is not None]
        columns = self._columns()
        room = columns - len(f"{stamp} {event:{EVENT_WIDTH}}{label}{GAP}")
        if complete or not (columns and event.startswith(FREQUENT)):
            parts = [*leading, *rest]
        elif failed and _width(GAP.join(leading)) > room:
            parts = leading
        else:
            parts = fitting(leading, rest, room)
        line = GAP.join([f"{stamp} {self._coloured(event, level)}{label}", *parts]).rstrip()
        trace = "\n".join(map(printable, exception.splitlines()))
        return f"{line}\n{trace}" if trace else line

    def _columns(self) -> int:
        """The width of the terminal; 0 if it is not known, or the stream is no terminal."""
        try:
            return os.get_terminal_size(self._descriptor).columns
        except OSError:
            return 0

    def _coloured(self, event: str, level: str) -> str:
        padding = " " * (EVENT_WIDTH - len(event))
        if not self._is_terminal:
            return event + padding
        return f"\x1b[{_COLOURS.get(level, 0)}m{event}\x1b[0m{padding}"


def fitting(leading: Sequence[str], rest: Sequence[str], columns: int) -> list[str]:
    """The parts of a line that fit into `columns`: of `rest` the first ones.

    If not even those of `leading` fit, the first of them is shortened, and then the last ones are
    left out.
    """
    parts = list(leading)
    if parts and (excess := _width(GAP.join(parts)) - columns) > 0:
        parts[0] = shortened(parts[0], max(MIN_NAME, _width(parts[0]) - excess))
    parts += rest
    while len(parts) > 1 and _width(GAP.join(parts)) > columns:
        parts.pop()
    return parts


def shortened(text: str, columns: int) -> str:
    """The text with "…" instead of its middle, so that it has at most so many columns."""
    if _width(text) <= columns:
        return text
    end = _beginning(text[::-1], columns // 2)[::-1]
    return f"{_beginning(text, columns - 1 - _width(end))}…{end}"


def _leading(event: str, fields: EventDict, scheme: str) -> Iterator[str]:
    """What matters most, in words; these fields are removed."""
    name = fields.pop("name", None)
    if name is not None:
        yield _shown(name)
    if isinstance(fields.get("size"), int):
        yield human_size(fields.pop("size"))
    if isinstance(fields.get("bytes_per_second"), int):
        yield f"{human_size(fields.pop('bytes_per_second'))}/s"
    if "user" in fields:
        yield _shown(fields.pop("user"))
    elif event.startswith("connection.") and "peer" in fields:
        yield _shown(fields.pop("peer"))
    if isinstance(fields.get("seconds"), float):
        yield f"{fields.pop('seconds'):.2f} s"
    stored = os.path.basename(str(fields.get("path", "")))
    if event == "upload.stored" and stored and stored != name:
        yield f"as {_shown(stored)}"
    if event == "server.started":
        yield from (_clickable(str(each), scheme) for each in fields.pop("listen", ()))
    words = [_shown(fields.pop(key)) for key in ("code", "reason") if fields.get(key)]
    if words:
        yield ": ".join(words)


def _in_order(fields: EventDict) -> Iterator[tuple[str, object]]:
    """The fields that are left, the less important ones last."""
    yield from ((key, value) for key, value in fields.items() if key not in _LAST)
    yield from ((key, fields[key]) for key in _LAST if key in fields)


def _shown(value: object) -> str:
    return printable(value if isinstance(value, str) else str(value))


def _clickable(listen: str, scheme: str) -> str:
    """A listening address as a URL for a browser on this machine, if it has one."""
    if listen.startswith("unix:") or " " in listen or "%" in listen:
        return listen  # browsers know neither the PROXY protocol nor zones of IPv6 addresses
    host, _, port = listen.rpartition(":")
    local = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  any address
    return f"{scheme}://{local}:{port}/"


def _beginning(text: str, columns: int) -> str:
    """The first characters of the text that fit into so many columns."""
    for at, char in enumerate(text):
        columns -= _width(char)
        if columns < 0:
            return text[:at]
    return text


def _width(text: str) -> int:
    """The columns that a terminal needs for the text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
