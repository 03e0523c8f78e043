"""Delivers receipts: sends those that are due to the hook, and postpones them if that fails."""

import json
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.outbox import Outbox, Owed
from galileod.metrics import Metrics
from galileod.policy.backoff import pause, wait
from galileod.shutdown import Shutdown

from .command import run_command
from .post import post
from .receipt import complete_receipt
from .settings import HookError, Hooks

LEDGER_PAUSE: Final = 60.0
"""Seconds until the ledger is used again after an error of it."""

Receipt = dict[str, object]
Send = Callable[[Hooks, Receipt, str], Awaitable[None]]
"""Makes one attempt; the string is the location of the store. Raises HookError."""

_log: FilteringBoundLogger = structlog.get_logger()


async def send(hooks: Hooks, receipt: Receipt, location: str) -> None:
    """Make one attempt with the hook in `hooks`; `location` is that of the store.

    A command runs in the directory `location`. Raises HookError.
    """
    body = json.dumps(receipt).encode()
    if isinstance(hooks.stored, str):
        number = str(receipt["id"])
        await post(hooks.stored, body, number, hooks.secret_file, hooks.timeout)
    else:
        await run_command(hooks.stored, body, location, hooks.timeout)


class Delivery:
    """Delivers the receipts in the outbox, at most `hooks.parallel` at once.

    `hooks` returns the settings in force; `location` is the location of the store.
    """

    def __init__(
        self,
        outbox: Outbox,
        hooks: Callable[[], Hooks],
        metrics: Metrics,
        shutdown: Shutdown,
        location: str,
        send: Send = send,
    ) -> None:
        self._outbox = outbox
        self._hooks = hooks
        self._metrics = metrics
        self._shutdown = shutdown
        self._location = location
        self._send = send
        self._running: set[int] = set()
        self._failures = 0
        self._resume = -math.inf

    async def run(self) -> None:
        """Deliver until the daemon drains. Running attempts continue as long as uploads may."""
        shutdown = self._shutdown
        with shutdown.no_uploads.guard():
            async with trio.open_nursery() as attempts:
                with shutdown.no_new_uploads.guard():
                    await self._warn_without_hook()
                    while True:
                        with trio.move_on_at(await self._begin(attempts)):
                            await self._outbox.wait()

    async def _warn_without_hook(self) -> None:
        try:
            count = 0 if self._hooks().stored else await self._outbox.count()
        except LedgerError:
            return  # only the warning is lost; uploads log the same error
        if count:
            _log.warning("hook.waiting", deliveries=count, reason="hooks.stored is not set")

    async def _begin(self, attempts: trio.Nursery) -> float:
        """Begin the attempts that are due; returns the time of the next call on trio's clock."""
        hooks = self._hooks()
        now = trio.current_time()
        if not hooks.stored or len(self._running) >= hooks.parallel:
            return math.inf
        if now < self._resume:
            return self._resume
        running = frozenset(self._running)
        try:
            # Receipts whose attempts are running are still in the outbox.
            owed = await self._outbox.first(hooks.parallel + len(running))
        except LedgerError as error:
            _log.warning("ledger.behind", reason=str(error))
            return now + LEDGER_PAUSE
        for one in owed:
            if one.number in running:
                continue  # its attempt runs, or ended after the outbox was read
            if one.wait > 0:
                return trio.current_time() + one.wait
            if len(self._running) >= hooks.parallel:
                break  # the end of an attempt calls notify
            self._running.add(one.number)
            attempts.start_soon(self._attempt, hooks, one)
        return math.inf

    async def _attempt(self, hooks: Hooks, owed: Owed) -> None:
        """Make one attempt, and record its outcome."""
        log = _log.bind(name=owed.name)
        try:
            try:
                receipt = complete_receipt(owed.receipt, owed.name, self._location)
            except ValueError:
                await self._give_up(owed, "the receipt in the ledger is damaged", log)
                return
            log = log.bind(upload=receipt["upload"], id=receipt["id"])
            try:
                await self._send(hooks, receipt, self._location)
            except HookError as error:
                await self._failed(owed, str(error), log)
            except Exception:  # a defect in a hook's attempt must not end the daemon
                log.exception("hook.error")
                await self._failed(owed, "internal error", log)
            else:
                self._failures, self._resume = 0, -math.inf
                self._metrics.attempted("delivered")
                with trio.CancelScope(shield=True):  # the ledger's methods have a time limit
                    await self._outbox.delivered(owed.number)
                log.info("hook.delivered", attempt=owed.attempts + 1)
        except LedgerError as error:
            # The receipt will be sent again, after a pause; the receiver recognizes its id.
            log.warning("ledger.behind", reason=str(error))
            with self._shutdown.no_new_uploads.guard():
                await trio.sleep(LEDGER_PAUSE)
        finally:
            self._running.discard(owed.number)
            self._outbox.notify()

    async def _failed(self, owed: Owed, reason: str, log: FilteringBoundLogger) -> None:
        attempt = owed.attempts + 1
        seconds = wait(attempt, random.random())  # noqa: S311  only spreads the load
        self._failures += 1
        self._resume = trio.current_time() + pause(self._failures)
        if seconds is None:
            await self._give_up(owed, reason, log)
        else:
            self._metrics.attempted("retried")
            log.warning("hook.retry", reason=reason, attempt=attempt, next=round(seconds, 3))
            await self._outbox.postpone(owed.number, seconds)

    async def _give_up(self, owed: Owed, reason: str, log: FilteringBoundLogger) -> None:
        """Make no more attempts for this receipt until the next start."""
        self._metrics.attempted("failed")
        log.error("hook.failed", reason=reason, attempt=owed.attempts + 1)
        await self._outbox.postpone(owed.number, None)
