"""Processes that are stopped for a while, as SIGSTOP or a frozen container does it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.daemon import poll

Signal = Callable[[signal.Signals], None]


@contextmanager
def stopped(pid: int, send_signal: Signal, seconds: float) -> Iterator[None]:
    """Stop the process for the block, and for so many seconds at least."""

    def is_stopped() -> bool:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    send_signal(signal.SIGSTOP)
    try:
        poll("the process to be stopped", is_stopped)
        end = time.monotonic() + seconds
        yield
        wait_until(end)
    finally:
        send_signal(signal.SIGCONT)


def wait_until(moment: float) -> None:
    """Wait for a moment of the system's clock."""
    poll("the time to pass", lambda: time.monotonic() >= moment)
