"""`GET /healthz`: reports whether the daemon accepts uploads, and its storage and ledger work."""

from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.net.http11 import Response
from galileod.storage.errors import StorageError
from galileod.uploads.context import Context

from .exchange import Exchange, busy

HEALTH_SECONDS: Final = 5.0
"""Time limit for the check of storage and ledger together, in seconds."""


_log: FilteringBoundLogger = structlog.get_logger()


class Health:
    """Answers health checks. Where storage and ledger are, is logged, since everybody may ask."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._logged: str | None = None

    async def answer(self, exchange: Exchange) -> Response:
        """200, or 503 with the reason. Neither counts as a refusal.

        503 is for what refuses every upload until somebody does something about it. What ends with
        the uploads that run, such as a lack of memory, is not reported.
        """
        reason = exchange.busy or await self._find_failure()
        return evolve(busy(reason), refuses=False) if reason else Response(200, "ok")

    async def _find_failure(self) -> str | None:
        context, checked = self._context, "storage"
        if not context.lease.is_valid():
            state = "is lost" if context.lease.lost.fired else "has run out"
            return f"The lease of this node {state}: nothing can be stored."
        try:
            with trio.fail_after(HEALTH_SECONDS):
                await context.store.check()
                checked = "ledger"
                await context.ledger.check()
                self._logged = None
                exhausted = await context.admission.find_exhausted()
        except (StorageError, LedgerError) as error:
            self._log_place(error)
            return f"The storage does not work: {error.reason}."
        except trio.TooSlowError:
            return f"The {checked} does not answer within {HEALTH_SECONDS:g} seconds."
        return f"Uploads are refused. {exhausted.reason}" if exhausted else None

    def _log_place(self, error: StorageError | LedgerError) -> None:
        """Log an error that has a place, unless the check before has found the same."""
        reason = str(error)
        if error.place and reason != self._logged:
            _log.warning("storage.failing", reason=reason)
        self._logged = reason
