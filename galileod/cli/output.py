"""Standard output and error of `galileod`, which may be full, or without a reader."""

import io
import signal
import sys
from typing import TYPE_CHECKING, Final, TextIO

from galileod.client.command.output import WaitingFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BROKEN_PIPE: Final = 128 + signal.SIGPIPE
"""Exit status if the reader of standard output is gone: that of programs that SIGPIPE ends."""


class StandardStream(WaitingFile):
    """A descriptor for writing. The first error is kept; from then on all data is discarded."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.error: OSError | None = None

    def write(self, data: "ReadableBuffer") -> int:
        """Write at least a part of `data`. Raises nothing."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def keep_errors() -> StandardStream:
    """Make standard output and error discard data that they do not accept.

    A command then completes its work. Returns standard output, for `status_of_output`.
    """
    out, sys.stdout = _keeping(sys.stdout)
    _, sys.stderr = _keeping(sys.stderr)
    return out


def status_of_output(out: StandardStream) -> int:
    """The exit status for the first error of standard output, which is reported; 0 without one."""
    if out.error is None:
        return 0
    if isinstance(out.error, BrokenPipeError):
        return BROKEN_PIPE
    reason = out.error.strerror or out.error
    sys.stderr.write(f"galileod: standard output cannot be written: {reason}\n")
    return 1


def _keeping(stream: TextIO) -> tuple[StandardStream, TextIO]:
    raw = StandardStream(stream.fileno())
    text = io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True
    )
    return raw, text
