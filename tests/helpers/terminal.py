"""A terminal of a certain width, and what a program writes on it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from typing import Final

_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


def shown(command: Sequence[str], columns: int) -> list[str]:
    """The lines that the command writes on standard error, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 1 << 16):
                written += data
        except OSError:
            pass  # EIO: the last process has closed the terminal
    os.close(ours)
    text = written.decode()
    assert process.returncode == 0, text
    return _STYLE.sub("", text.replace("\r\n", "\n")).splitlines()
