"""The progress of the start: what its thread does, and what systemd and the log hear of it."""

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Final, TypeVar

import structlog
import trio
from attrs import define
from structlog.typing import FilteringBoundLogger

from galileod.ledger.node import Node
from galileod.ledger.unavailable import UnavailableError as LedgerAway
from galileod.storage.errors import UnavailableError

from .status import EXTENSION_SECONDS
from .systemd import Manager

T = TypeVar("T")

REPORT_SECONDS: Final = 1.0
"""Seconds between two messages to systemd about the progress of the start."""

LOG_SECONDS: Final = 10.0
"""Seconds between two log lines about it; a shorter start has none."""

REMIND_SECONDS: Final = 60.0
"""Seconds between two log lines about what cannot be used at present."""

FIRST_PAUSE: Final = 1.0
"""Seconds until it is tried again for the first time; then twice as long each time, up to"""

LAST_PAUSE: Final = 15.0
"""so many seconds."""

CHECK_FILES: Final = 100
"""Files after which the scan looks whether it was cancelled."""

_log: FilteringBoundLogger = structlog.get_logger()


@define
class Progress:
    """What the thread is doing: `steps` and `files` grow while it makes progress.

    `remote`: the storage or the ledger is on other machines, so that the start waits for it.
    `asking`: it does so now, for an answer or for the next try. `failure` says why the last try has
    failed. `node` is this process among others, whose lease is to be renewed meanwhile.
    """

    remote: bool = False
    phase: str = "opening the directory"
    steps: int = 0
    files: int = 0
    asking: bool = False
    failure: str | None = None
    node: Node | None = None

    def step(self) -> None:
        """Count a piece of work. Raises trio.Cancelled in a thread whose caller is cancelled."""
        trio.from_thread.check_cancelled()
        self.steps += 1

    def found(self, files: int) -> None:
        """Count the files that were found; the same applies."""
        if files % CHECK_FILES == 0:
            trio.from_thread.check_cancelled()
        self.files = files

    def ask(self, call: Callable[[], T], *, once: bool = False) -> T:
        """Make requests of remote storage or the database: again while that may help.

        Only once with `once`. Called in the thread. If the start is cancelled, nobody waits for the
        answer any more.
        """
        asking = partial(trio.to_thread.run_sync, call, abandon_on_cancel=True)
        return trio.from_thread.run(partial(self.insist, asking, once=once))

    async def insist(self, step: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        """Carry out a step: again while what it needs cannot be reached, without an end.

        Raises other errors, and with `once` all.
        """
        pause, self.asking = FIRST_PAUSE, self.remote
        try:
            while True:
                try:
                    return await step()
                except (UnavailableError, LedgerAway) as error:
                    if once:
                        raise
                    self.failure = str(error)
                await trio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)
        finally:
            self.asking, self.failure = False, None


async def report_progress(progress: Progress, manager: Manager) -> None:
    """Report the progress until cancelled. Nothing is sent while there is none.

    To wait for remote storage is progress: a restart does not help.
    """
    reported, logged, reminded = None, trio.current_time(), -inf
    while True:
        await trio.sleep(REPORT_SECONDS)
        state = (progress.phase, progress.steps, progress.files, progress.failure)
        if state == reported and not progress.asking:
            continue
        reported = state
        manager.notify(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}", _status(progress))
        now = trio.current_time()
        if progress.failure is not None:
            if now >= reminded + REMIND_SECONDS:
                reminded = now
                _log.warning("server.waiting", phase=progress.phase, reason=progress.failure)
        elif now >= logged + LOG_SECONDS:
            logged = now
            _log.info("server.starting", phase=progress.phase, files=progress.files)


def _status(progress: Progress) -> str:
    """The line that `systemctl status` shows."""
    status = f"STATUS=Starting: {progress.phase}"
    if progress.failure is not None:
        return f"{status}, waiting: {progress.failure}"
    return f"{status}, {progress.files} files found" if progress.files else status
