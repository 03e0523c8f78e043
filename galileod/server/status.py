"""`GET /status` of the control socket: how the daemon, its storage and its ledger are."""

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from attrs import define, frozen

from galileod import __version__
from galileod.ledger.base import LedgerError
from galileod.ledger.engines import place_of
from galileod.net.http11 import Response
from galileod.policy.quota import Holding
from galileod.storage.errors import StorageError
from galileod.storage.state import ledger_path
from galileod.uploads.context import Context

from .connection import Server
from .exchange import Exchange
from .health import find_failure

LOOK_SECONDS: Final = 5.0
"""Time limit in seconds for each look at storage and ledger; they are made at the same time."""


@frozen
class Instance:
    """The process: its server, the addresses where it listens, and when it began to do so.

    `started` is in seconds since the epoch.
    """

    server: Server
    listen: Sequence[str]
    started: float


@define
class _Found:
    """What the looks have found. An error is None if all is well, a number if it is not known."""

    reason: str | None = None
    storage_error: str | None = None
    ledger_error: str | None = None
    free: int | None = None
    total: Holding | None = None


async def answer_status(context: Context, instance: Instance, _exchange: Exchange) -> Response:
    """One JSON object, as in `galileod status --json`, with `started` in seconds since the epoch.

    `reason` is that of the health check: null if it has status 200. Takes little more than
    LOOK_SECONDS, also if storage or database hang.
    """
    found = await _look(context)
    config, total, node = context.config, found.total, context.ledger.node
    reason = instance.server.refusal() or found.reason
    status = {
        "healthy": reason is None,
        "reason": reason,
        "version": __version__,
        "pid": os.getpid(),
        "started": instance.started,
        "node": node
        and {"name": node.name, "lease": node.lease.state(), "clock_ahead": node.ahead},
        "listen": list(instance.listen),
        "draining": context.shutdown.no_new_uploads.fired,
        "connections": instance.server.connections,
        "uploads": {
            "running": len(context.admission.running),
            "kept": total and total.kept_uploads,
            "kept_bytes": total and total.kept,
        },
        "stored": {"files": total and total.files, "bytes": total and total.bytes},
        "storage": {
            "backend": config.storage.backend,
            "place": context.store.location,
            "error": found.storage_error,
            "free": found.free,
        },
        "ledger": {
            "place": place_of(config.ledger, ledger_path(config.storage.directory)),
            "error": found.ledger_error,
        },
    }
    return Response(200, json.dumps(status), {"Content-Type": "application/json"})


async def _look(context: Context) -> _Found:
    """Look at all at the same time."""
    found = _Found()

    async def find_reason() -> None:
        found.reason = await find_failure(context)

    async def check_storage() -> None:
        found.storage_error = await _error(context.store.check)

    async def check_ledger() -> None:
        found.ledger_error = await _error(context.ledger.check)

    async def find_free() -> None:
        found.free = await context.store.free()

    async def find_total() -> None:
        found.total = await context.ledger.total()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(find_reason)
        nursery.start_soon(check_storage)
        nursery.start_soon(check_ledger)
        nursery.start_soon(_error, find_free)
        nursery.start_soon(_error, find_total)
    return found


async def _error(look: Callable[[], Awaitable[None]]) -> str | None:
    """Why a look has failed; None if it has succeeded."""
    try:
        with trio.fail_after(LOOK_SECONDS):
            await look()
    except (StorageError, LedgerError) as error:
        return str(error)
    except trio.TooSlowError:
        return f"no answer within {LOOK_SECONDS:g} seconds"
    return None
