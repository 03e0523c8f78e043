"""The standard streams, which the caller of a program may have closed."""

import os
import sys
from typing import Final

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
