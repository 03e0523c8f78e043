"""Finds out whether files can be stored: one check at a time, which answers also if it hangs."""

import contextlib
from collections.abc import Callable
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError

from .shared import Shared
from .trial import FOLDER

ANSWER_SECONDS: Final = 4.0
"""Maximum seconds for a check, if the one before it was good."""

FAILED_SECONDS: Final = 0.5
"""The same if it was not: who asks every few seconds hears soon enough that all is well again."""

PROBE_BYTES: Final = 64 << 10
"""Bytes of the object that is stored to find out whether that is possible again."""

_log: FilteringBoundLogger = structlog.get_logger()


class Checker:
    """Asks for the bucket; and stores an object, if the last request to store data has failed.

    `restore` restores the state directory.
    """

    def __init__(self, shared: Shared, restore: Callable[[], None]) -> None:
        self._shared = shared
        self._restore = restore
        self._key = shared.key(f"{FOLDER}health")
        self._hasty = shared.client.for_checks()
        self._failure: StorageError | None = None
        self._ended: trio.Event | None = None
        self._began = 0.0

    async def check(self) -> None:
        """Raise StorageError if nothing can be stored, as far as that is known in time."""
        if self._ended is None:
            self._ended, self._began = trio.Event(), trio.current_time()
            # It may hang for longer than anybody waits.
            trio.lowlevel.spawn_system_task(self._run, self._ended)
        ended = self._ended
        seconds = FAILED_SECONDS if self._failure else ANSWER_SECONDS
        with trio.CancelScope(deadline=self._began + seconds):
            await ended.wait()
        if not ended.is_set() and self._failure is None:
            self._failure = self._hasty.no_answer()
        if self._failure is not None:
            raise type(self._failure)(self._failure.reason, self._failure.place)

    async def _run(self, ended: trio.Event) -> None:
        try:
            await self._shared.request(self._check, self._shared.threads.checkers)
            self._failure = None
        except StorageError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001  a defect must not end the daemon
            _log.exception("storage.error")
            self._failure = StorageError("the check has failed", f": {error}")
        finally:
            self._ended = None
            ended.set()

    def _check(self) -> None:
        client, hasty = self._shared.client, self._hasty
        self._restore()
        hasty.check()
        if client.failed is not None:
            hasty.put(self._key, bytes(PROBE_BYTES), {}, new=False)
            client.failed = None
            with contextlib.suppress(StorageError):  # the sweeper removes it
                hasty.delete(self._key)
