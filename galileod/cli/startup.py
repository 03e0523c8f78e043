"""What both programs do before their imports: the process becomes independent of its caller.

Imports only small modules of Python, so that signals are handled early.
"""

import io
import os
import signal
import sys
from collections.abc import Callable, Collection
from typing import Final

from .init import run_below_init

UTF8_MODE: Final = [b"-X", b"utf8"]
"""The flags of Python's UTF-8 mode; they take precedence over PYTHONUTF8."""

_STANDARD_ERROR: Final = 2


def run_program(
    load: Callable[[], Callable[[], object]], blocked: Collection[signal.Signals] = ()
) -> None:
    """Import a program with `load`, and run it; it starts with the signals `blocked` blocked.

    Ctrl-C causes no traceback, also during the imports and at exit.
    """
    # Until Python's handler, which would cause one, is replaced. It returns with each execution.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *blocked})
    # If the caller ignored it, the exit statuses of children would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run_below_init()
    use_utf8()
    python_handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_handles:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    open_standard_streams()
    program = load()
    if python_handles:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        program()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def use_utf8() -> None:
    """Execute this program again in UTF-8 mode if paths would have another encoding.

    Python takes the encoding of paths, arguments and variables from the locale; here they are UTF-8
    in each locale. Process id and descriptors stay the same.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    # As bytes: what was decoded cannot be encoded again in each encoding, such as EUC-JP.
    with open("/proc/self/cmdline", "rb") as file:
        name, *arguments = file.read().split(b"\0")[:-1]
    if arguments[: len(UTF8_MODE)] != UTF8_MODE:  # else it is a Python without that mode
        program = os.readlink(b"/proc/self/exe")
        os.execv(program, [name, *UTF8_MODE, *arguments])  # noqa: S606  as it was started


def open_standard_streams() -> None:
    """Open /dev/null for the standard streams that the caller closed.

    Otherwise a socket or a file would get their descriptors. It is opened for writing only: reading
    from a closed standard input is an error, not an empty file. Characters that the encoding of an
    open stream lacks are escaped; it is UTF-8 unless PYTHONIOENCODING names another.
    """
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has set them to None. They stay open as long as the process (SIM115).
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
