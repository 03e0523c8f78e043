"""Writes the lines of the log."""

import logging
from typing import Final, TextIO

MIN_INTERVAL: Final = 10.0
"""Minimum seconds between two lines about connections that cannot be accepted."""


class Output:
    """Writes lines to a stream, each with one call. Any thread may use it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        """Write one line. It is lost if the stream cannot be written to."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # uploads continue although the log cannot be written


class OutputHandler(logging.Handler):
    """A handler of the logging module that writes to an Output."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. One that cannot be formatted is discarded."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a library's mistake in a log call must not end an upload
            self.handleError(record)
        else:
            self._output.write(line)


class IntervalFilter(logging.Filter):
    """Passes at most one record in MIN_INTERVAL seconds, without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record, by its time of creation."""
        record.exc_info = None
        due = record.created >= self._next
        if due:
            self._next = record.created + MIN_INTERVAL
        return due
