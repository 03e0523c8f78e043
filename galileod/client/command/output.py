"""What the command prints: whole lines, to streams that may take no more."""

import os
from collections.abc import Callable
from typing import TextIO


class Lines:
    """Lines to a stream, whole and at once. One that takes no more is no reason to stop sending.

    `lost` hears why, once, unless it is a reader that went away of its own will.
    """

    def __init__(self, stream: TextIO, lost: Callable[[str], None] | None = None) -> None:
        self._stream = stream
        self._lost = lost

    def write(self, line: str) -> None:
        """One line."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except OSError as error:
            # Python would complain once more at its own end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._lost and not isinstance(error, BrokenPipeError):
                self._lost(error.strerror or str(error))


def standard(stream: TextIO, lost: Callable[[str], None] | None = None) -> Lines:
    """Standard output or error; what its encoding lacks is escaped."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    return Lines(stream, lost)


def is_terminal(stream: TextIO) -> bool:
    """Whether bars may be drawn there, which take characters of their own."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and stream.encoding.lower().replace("-", "") == "utf8"
    )
