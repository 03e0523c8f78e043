"""Output: the one place where a line of the log is written."""

import logging
from typing import Final, TextIO

SELDOM: Final = 10.0
"""Seconds between two lines about connections that cannot be accepted."""


class Output:
    """Writes lines to a stream, each in one piece, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write one line. If the stream is full, closed or gone, the line is lost."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # an upload continues although its log cannot be written


class OutputHandler(logging.Handler):
    """Writes the records of the logging module to the same output."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; one that cannot be formatted is left out, as by the module's own."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a library's mistake in a log call must not end an upload
            self.handleError(record)
        else:
            self._output.write(line)


class SeldomFilter(logging.Filter):
    """Passes a record, without its traceback, if the last one was SELDOM seconds ago or more."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Compare the record's own times."""
        record.exc_info = None
        due = record.created >= self._next
        if due:
            self._next = record.created + SELDOM
        return due
