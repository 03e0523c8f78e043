"""Writes whole lines to standard output and error, which may fail."""

import locale
import os
from collections.abc import Callable
from typing import Final, TextIO

TERMINAL_ENCODINGS: Final = ("UTF-8", "ANSI_X3.4-1968")
"""Encodings of a locale whose terminal can show progress bars. The second one is that of the C
locale, which tells nothing about the terminal."""


class Lines:
    """Writes and flushes lines. A failure of the stream does not end the uploads.

    `on_failure` is called once with the reason, except for a closed pipe, which is not an error:
    its reader, such as `head`, needs no more lines.
    """

    def __init__(self, stream: TextIO, on_failure: Callable[[str], None] | None = None) -> None:
        self._stream = stream
        self._on_failure = on_failure

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


def standard(stream: TextIO, on_failure: Callable[[str], None] | None = None) -> Lines:
    """Standard output or error. Characters that its encoding lacks are escaped."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    return Lines(stream, on_failure)


def is_terminal(stream: TextIO) -> bool:
    """Whether progress bars can be drawn: standard error is UTF-8, but the terminal may not be."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and stream.encoding.lower().replace("-", "") == "utf8"
        and locale.getencoding().upper() in TERMINAL_ENCODINGS
    )
