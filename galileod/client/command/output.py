"""Writes whole lines to standard output and error, which may fail, or be slow."""

import io
import locale
import os
import select
import signal
import threading
from collections.abc import Callable
from queue import Queue
from typing import TYPE_CHECKING, Final, Self, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_LINES: Final = 10_000
"""Maximum lines that wait for a slow reader; at this number the uploads wait as well."""

BEHIND: Final = 100
"""Number of waiting lines from which on no line about progress is added."""

TERMINAL_ENCODINGS: Final = ("UTF-8", "ANSI_X3.4-1968")
"""Encodings of a locale whose terminal can show progress bars. The second one is that of the C
locale, which tells nothing about the terminal."""


class WaitingFile(io.FileIO):
    """A descriptor for writing, which another process may have made non-blocking."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: "ReadableBuffer") -> int:
        """Write at least a part of `data`; waits until that is possible. Raises OSError."""
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class Lines:
    """Writes and flushes lines. A failure of the stream does not end the uploads.

    `on_failure` is called once with the reason, except for a closed pipe, which is not an error:
    its reader, such as `head`, needs no more lines.
    """

    def __init__(self, stream: TextIO, on_failure: Callable[[str], None] | None = None) -> None:
        self._stream = stream
        self._on_failure = on_failure

    @property
    def behind(self) -> bool:
        """Whether the reader is so slow that lines about progress should be left out."""
        return False

    def write(self, line: str) -> None:
        """Write one line; after a failure it is discarded."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except OSError as error:
            # Otherwise Python would report the error again when it flushes the stream at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._on_failure and not isinstance(error, BrokenPipeError):
                self._on_failure(error.strerror or str(error))


class QueuedLines(Lines):
    """Lines that a thread writes to `lines`, so that a slow reader does not delay the uploads.

    As a context manager, it waits at the end until all lines are written. Ctrl-C ends the wait, and
    the process.
    """

    def __init__(self, lines: Lines) -> None:
        self._queue: Queue[str | None] = Queue(MAX_LINES)
        self._writing = 0  # lines that the thread has taken; at most BEHIND
        self._thread = threading.Thread(target=self._write_queued, args=(lines,), daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        """Whether at least BEHIND lines wait behind the one that is being written."""
        return self._queue.qsize() + self._writing > BEHIND

    def write(self, line: str) -> None:
        """Add one line; waits if there are MAX_LINES."""
        self._queue.put(line)

    def _write_queued(self, lines: Lines) -> None:
        line: str | None = ""
        while line is not None and (line := self._queue.get()) is not None:
            self._writing = 1
            waiting = [line]
            # Only this thread takes lines, so one that is there stays there.
            while len(waiting) < BEHIND and not self._queue.empty():
                if (line := self._queue.get()) is None:
                    break
                waiting.append(line)
                self._writing += 1
            lines.write("\n".join(waiting))
            self._writing = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._queue.put(None)
            self._thread.join()
        except KeyboardInterrupt:
            # Python's own exit would fail, since the thread has locked the stream.
            os._exit(128 + signal.SIGINT)


def standard(stream: TextIO, on_failure: Callable[[str], None] | None = None) -> Lines:
    """Standard output or error. Characters that its encoding lacks are escaped."""
    raw = io.BufferedWriter(WaitingFile(stream.fileno()))
    return Lines(io.TextIOWrapper(raw, stream.encoding, "backslashreplace"), on_failure)


def is_terminal(stream: TextIO) -> bool:
    """Whether progress bars can be drawn: standard error is UTF-8, but the terminal may not be."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and stream.encoding.lower().replace("-", "") == "utf8"
        and locale.getencoding().upper() in TERMINAL_ENCODINGS
    )
