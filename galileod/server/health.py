"""`GET /healthz`: reports whether the daemon accepts uploads, and its storage and ledger work."""

from typing import Final

import trio
from attrs import evolve

from galileod.ledger.base import LedgerError
from galileod.net.http11 import Response
from galileod.storage.errors import StorageError
from galileod.uploads.context import Context

from .exchange import Exchange, busy

HEALTH_SECONDS: Final = 5.0
"""Time limit for the check of storage and ledger together, in seconds."""


async def answer_health(context: Context, exchange: Exchange) -> Response:
    """200, or 503 with the reason. Neither counts as a refusal.

    503 is for what refuses every upload until somebody does something about it. What ends with the
    uploads that run, such as a lack of memory, is not reported.
    """
    reason = exchange.busy or await _find_failure(context)
    return evolve(busy(reason), refuses=False) if reason else Response(200, "ok")


async def _find_failure(context: Context) -> str | None:
    if not context.lease.is_valid():
        lost = context.lease.lost.fired
        return (
            f"The lease of this node {'is lost' if lost else 'has run out'}: nothing can be stored."
        )
    checked = "storage"
    try:
        with trio.fail_after(HEALTH_SECONDS):
            await context.store.check()
            checked = "ledger"
            await context.ledger.check()
            exhausted = await context.admission.find_exhausted()
    except (StorageError, LedgerError) as error:
        return f"The storage does not work: {error}."
    except trio.TooSlowError:
        return f"The {checked} does not answer within {HEALTH_SECONDS:g} seconds."
    return f"Uploads are refused. {exhausted.reason}" if exhausted else None
