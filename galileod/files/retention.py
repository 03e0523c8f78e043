"""Removes files in the background once their retention is over."""

from collections.abc import Callable
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.outage import is_outage
from galileod.storage.errors import StorageError

from .removal import Remover

CHECK_SECONDS: Final = 5.0
"""Seconds between two rounds."""

ROUND_SECONDS: Final = 5.0
"""Seconds after which a round begins no further page."""

REMIND_SECONDS: Final = 60.0
"""Seconds between two lines that say that rounds fail, for the same reason."""

TURN: Final = "/retention"
"""What the node holds that does a round. No file has such a name."""

PAGE: Final = 64
"""Maximum files that are read from the ledger at once."""

_log: FilteringBoundLogger = structlog.get_logger()


class Retention:
    """Removes the files whose time is over. `retention` returns `storage.retention` in force."""

    def __init__(
        self, ledger: Ledger, remover: Remover, retention: Callable[[], float | None]
    ) -> None:
        self._ledger = ledger
        self._remover = remover
        self._retention = retention
        # Where the next page begins. A file that cannot be removed is thereby tried again only
        # after all others.
        self._cursor = ""
        self._reported: tuple[str, float] | None = None  # why a round has failed, and when

    async def run(self) -> None:
        """Remove files until cancelled."""
        while True:
            await trio.sleep(CHECK_SECONDS)
            try:
                await self._take_turn()
                self._reported = None
            except (LedgerError, StorageError) as error:
                if not is_outage(error):
                    self._report(str(error))

    def _report(self, reason: str) -> None:
        """Log why files are not removed, unless that was logged a short while ago."""
        now = trio.current_time()
        if self._reported is not None:
            before, at = self._reported
            if before == reason and now < at + REMIND_SECONDS:
                return
        self._reported = reason, now
        _log.warning("file.not_removed", path=None, user=None, reason=reason)

    async def _take_turn(self) -> None:
        """Do a round, unless another node is doing one: they would wait for each other."""
        elsewhere = self._ledger.elsewhere
        if elsewhere is None:
            await self.remove_expired()
            return
        entries, _ = await self._ledger.expired(self._retention(), "", 1)
        if not entries:
            return
        try:
            if await elsewhere.hold([TURN]):
                await self.remove_expired()
        finally:
            with trio.CancelScope(shield=True):  # it is bounded in time
                await elsewhere.give_back([TURN])

    async def remove_expired(self) -> None:
        """Remove files whose time is over, all or as many as one round may.

        Raises LedgerError and StorageError.
        """
        end = trio.current_time() + ROUND_SECONDS
        while (began := trio.current_time()) < end:
            entries, following = await self._ledger.expired(self._retention(), self._cursor, PAGE)
            self._cursor = following or ""
            for one in await self._remover.remove_recorded(entries, "expired"):
                if one.result in ("failed", "changed"):
                    _log.warning(
                        "file.not_removed", path=one.name, user=one.user, reason=one.reason
                    )
            if following is None:
                return
            await trio.sleep(trio.current_time() - began)  # uploads come first
