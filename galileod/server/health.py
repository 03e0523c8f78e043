"""`GET /healthz`: reports whether the daemon accepts uploads and its storage works."""

from typing import Final

import trio
from attrs import evolve

from galileod.net.http11 import Response
from galileod.storage.base import StorageError
from galileod.uploads.context import Context

from .exchange import Exchange, busy

HEALTH_SECONDS: Final = 5.0
"""Time limit for the check of the storage, in seconds."""


async def answer_health(context: Context, exchange: Exchange) -> Response:
    """200, or 503 with the reason. Neither counts as a refusal."""
    reason = exchange.busy or await _storage_failure(context)
    return evolve(busy(reason), refuses=False) if reason else Response(200, "ok")


async def _storage_failure(context: Context) -> str | None:
    try:
        with trio.fail_after(HEALTH_SECONDS):
            await context.store.check()
    except StorageError as error:
        return f"The storage does not work: {error}."
    except trio.TooSlowError:
        return f"The storage does not answer within {HEALTH_SECONDS:g} seconds."
    return None
