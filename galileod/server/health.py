"""`GET /healthz`: reports whether the daemon accepts uploads, and its storage and ledger work."""

from collections.abc import Callable
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

Failure = StorageError | LedgerError

_log: FilteringBoundLogger = structlog.get_logger()


class Health:
    """Answers health checks. Where storage and ledger are, is logged, since everybody may ask."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._logged: str | None = None

    async def answer(self, exchange: Exchange) -> Response:
        """200, or 503 with the reason. Neither counts as a refusal."""
        reason = exchange.busy or await find_failure(self._context, self._log_place)
        return evolve(busy(reason), refuses=False) if reason else Response(200, "ok")

    def _log_place(self, error: Failure | None) -> None:
        """Log an error that has a place, unless the check before has found the same."""
        reason = None if error is None else str(error)
        if error is not None and error.place and reason != self._logged:
            _log.warning("storage.failing", reason=reason)
        self._logged = reason


async def find_failure(
    context: Context, report: Callable[[Failure | None], object] = lambda _: None
) -> str | None:
    """Why every upload is refused, or fails, until somebody does something about it; None if not.

    What ends with the uploads that run, such as a lack of memory, is no reason. `report` hears what
    the checks of storage and ledger raise, None if they succeed. Takes at most HEALTH_SECONDS.
    """
    if not context.lease.is_valid():
        return await _without_lease(context, report)
    checked = "storage"
    try:
        with trio.fail_after(HEALTH_SECONDS):
            await context.store.check()
            checked = "ledger"
            await context.ledger.check()
            report(None)
            exhausted = await context.admission.find_exhausted()
    except (StorageError, LedgerError) as error:
        report(error)
        return f"The storage does not work: {error.reason}."
    except trio.TooSlowError:
        return f"The {checked} does not answer within {HEALTH_SECONDS:g} seconds."
    return f"Uploads are refused. {exhausted.reason}" if exhausted else None


async def _without_lease(context: Context, report: Callable[[Failure | None], object]) -> str:
    """What is wrong, with the reason for which the lease is not renewed, if there is one still."""
    if context.lease.lost.fired:
        return "The lease of this node is lost: nothing can be stored."
    told = "The lease of this node has run out: {}."
    try:
        with trio.fail_after(HEALTH_SECONDS):
            await context.ledger.check()
    except LedgerError as error:
        report(error)
        return told.format(error.reason)
    except trio.TooSlowError:
        return told.format(f"the ledger does not answer within {HEALTH_SECONDS:g} seconds")
    return told.format("nothing can be stored")
