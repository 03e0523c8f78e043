"""A galileod whose disk stalls: system calls that wait for as long as a test wants."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROGRAM: Final = """
import os, time

def stalling(name):
    call, gate = getattr(os, name), os.path.join(os.environ["STALLS"], name)
    def waiting(*args):
        while os.path.exists(gate):
            time.sleep(0.005)
        return call(*args)
    return waiting

for name in ("fsync", "writev"):
    setattr(os, name, stalling(name))
from galileod.cli.main import main
main()
"""


class StallingDisk:
    """Gives the daemon's `program` and `environ`; `stalled` makes a system call wait."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.program = (sys.executable, "-c", PROGRAM)
        self.environ: Mapping[str, str] = {"STALLS": str(folder)}

    @contextmanager
    def stalled(self, call: str) -> Iterator[None]:
        """Within this block `fsync` or `writev` does not return."""
        gate = self._folder / call
        gate.touch()
        try:
            yield
        finally:
            gate.unlink()
