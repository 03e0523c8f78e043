"""Writes the lines of the log, in a thread of its own."""

import logging
import threading
from collections.abc import Callable
from typing import Final, TextIO

from .line_writer import LineWriter

MAX_LINES: Final = 8192
"""Maximum lines that wait for the thread; as many again may wait in it for the descriptor."""

MAX_BYTES: Final = 1024 * 1024
"""Maximum bytes of these lines."""

GATHER_SECONDS: Final = 0.01
"""Seconds that the thread waits for more lines after the first, to write them together."""

FLUSH_SECONDS: Final = 2.0
"""Maximum seconds that the end of the process waits until the last lines are written."""

MIN_INTERVAL: Final = 10.0
"""Minimum seconds between two lines about connections that cannot be accepted."""


class Output:
    """Writes lines to a stream. Any thread may use it, and none waits for the stream.

    A line for which the queue has no room, or that the stream does not accept, is dropped, and
    counted. `dropped_line` renders the line that tells the number; it returns "" for none.
    """

    def __init__(self, stream: TextIO, dropped_line: Callable[[int], str]) -> None:
        # The stream has a lock that a thread may hold for ever, so only its descriptor is used.
        self._writer = LineWriter(stream.fileno())
        self._encoding = stream.encoding
        self._dropped_line = dropped_line
        # The lock is reentrant, since a finalizer may log while its thread is in `write`.
        self._changed = threading.Condition(threading.RLock())
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0
        self._waiting = False
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._write_queued, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Write one line. Never blocks."""
        data = self._encode(line)
        with self._changed:
            if self._ended:
                self._writer.write_at_once(data)
            elif len(self._lines) >= MAX_LINES or self._bytes + len(data) > MAX_BYTES:
                self._dropped += 1
            else:
                self._lines.append(data)
                self._bytes += len(data)
                if self._waiting:
                    self._waiting = False
                    self._changed.notify()

    def close(self) -> None:
        """Wait until all lines are written, at most FLUSH_SECONDS.

        Later lines are written if the stream takes them at once, else dropped.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(FLUSH_SECONDS)

    def _write_queued(self) -> None:
        """Write lines until `close`."""
        while True:
            with self._changed:
                while not self._lines:
                    if self._closing:
                        self._ended = True
                        return
                    self._waiting = True
                    self._changed.wait()
                self._changed.wait_for(lambda: self._closing, GATHER_SECONDS)
                lines, self._lines, self._bytes = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
            dropped = self._write(lines, dropped)
            with self._changed:
                self._dropped += dropped

    def _write(self, lines: list[bytes], dropped: int) -> int:
        """Write the lines, and how many were dropped. Returns how many are still to be told."""
        failed = self._writer.write(lines)
        if failed or not dropped:
            return dropped + failed
        line = self._dropped_line(dropped)
        return dropped * self._writer.write([self._encode(line)]) if line else 0

    def _encode(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")


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
