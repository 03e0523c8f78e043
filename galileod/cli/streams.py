"""Standard output and error of the programs, which may be closed, full, or without a reader."""

import io
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BROKEN_PIPE: Final = 128 + signal.SIGPIPE
"""Exit status if the reader of standard output is gone: that of programs that SIGPIPE ends."""

_STANDARD_ERROR: Final = 2


def open_closed_streams() -> None:
    """Open /dev/null for the standard streams that the caller closed.

    Otherwise a socket or a file would get their descriptors. It is opened for writing only: reading
    from a closed standard input is an error, not an empty file.
    """
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has set them to None.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


class StandardStream(io.FileIO):
    """A descriptor for writing. The first error is kept; from then on all data is discarded."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: "ReadableBuffer") -> int:
        """Write some of `data`; waits if the descriptor is non-blocking. Raises nothing."""
        size = memoryview(data).nbytes
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])
        return size


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
