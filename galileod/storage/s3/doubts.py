"""Publications that were given up although the object storage may carry them out."""

from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.objects import Objects

LATE_SECONDS: Final = 1200.0
"""Seconds after which a request that was given up is not carried out any more: a store refuses a
signature that is older than 15 minutes, and the last attempt of the request is sent within 5."""

_log: FilteringBoundLogger = structlog.get_logger()


class Doubts:
    """The uploads whose publication this process has given up.

    `overwriting` are those whose request replaces whatever has the name by then.
    """

    def __init__(self) -> None:
        self.overwriting: set[str] = set()
        self._abandoned = trio.Event()

    async def enter(self, objects: Objects, upload: str, due: float, *, overwrites: bool) -> None:
        """Enter it in the ledger. Works in a cancelled scope, and never raises LedgerError."""
        if overwrites:
            self.overwriting.add(upload)
        with trio.CancelScope(shield=True):  # the ledger is bounded in time
            try:
                await objects.doubt(upload, due)
            except LedgerError as error:
                # It is still entered that the file may be published, for the next start.
                _log.warning("ledger.behind", reason=str(error))

    def wake(self) -> None:
        """An upload is abandoned, and not settled."""
        self._abandoned.set()

    async def wait(self) -> None:
        """Wait until there is one."""
        await self._abandoned.wait()
        self._abandoned = trio.Event()
