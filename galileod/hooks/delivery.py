"""The deliveries: what is due is attempted, a few at once, and put off where that fails."""

import json
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.outbox import Outbox, Owed
from galileod.ledger.sqlite import LedgerError
from galileod.metrics import Metrics
from galileod.policy.backoff import pause, wait
from galileod.shutdown import Shutdown

from .command import run_command
from .post import post
from .receipt import addressed
from .settings import HookError, Hooks

LEDGER_PAUSE: Final = 60.0
"""Seconds until the ledger is asked again, after it failed."""

Receipt = dict[str, object]
Send = Callable[[Hooks, Receipt, str], Awaitable[None]]
"""One attempt, in that directory. Raises HookError."""

_log: FilteringBoundLogger = structlog.get_logger()


async def send(hooks: Hooks, receipt: Receipt, directory: str) -> None:
    """One attempt with the hook that is configured now. Raises HookError."""
    body = json.dumps(receipt).encode()
    if isinstance(hooks.stored, str):
        number = str(receipt["id"])
        await post(hooks.stored, body, number, hooks.secret_file, hooks.timeout)
    else:
        await run_command(hooks.stored, body, directory, hooks.timeout)


class Delivery:
    """Delivers what the outbox holds, and never more than `hooks.parallel` at once.

    `hooks` gives the settings that are in force now; files stand below `directory`.
    """

    def __init__(
        self,
        outbox: Outbox,
        hooks: Callable[[], Hooks],
        metrics: Metrics,
        shutdown: Shutdown,
        directory: str,
        send: Send = send,
    ) -> None:
        self._outbox = outbox
        self._hooks = hooks
        self._metrics = metrics
        self._shutdown = shutdown
        self._directory = directory
        self._send = send
        self._running: set[int] = set()
        self._failures = 0
        self._resume = -math.inf

    async def run(self) -> None:
        """Deliver until the daemon stops. What runs then may go on as long as uploads may."""
        shutdown = self._shutdown
        with shutdown.no_uploads.guard():
            async with trio.open_nursery() as attempts:
                with shutdown.no_new_uploads.guard():
                    await self._warn_of_what_waits()
                    while True:
                        with trio.move_on_at(await self._begin(attempts)):
                            await self._outbox.wait()

    async def _warn_of_what_waits(self) -> None:
        try:
            count = 0 if self._hooks().stored else await self._outbox.count()
        except LedgerError:
            return  # it was only to warn; uploads will tell
        if count:
            _log.warning("hook.waiting", deliveries=count, reason="hooks.stored is not set")

    async def _begin(self, attempts: trio.Nursery) -> float:
        """Begin what is due, and give the time of the next look, unless the bell rings before."""
        hooks = self._hooks()
        now = trio.current_time()
        if not hooks.stored or len(self._running) >= hooks.parallel:
            return math.inf
        if now < self._resume:
            return self._resume
        running = frozenset(self._running)
        try:
            # Those that run are still among them.
            owed = await self._outbox.first(hooks.parallel + len(running))
        except LedgerError as error:
            _log.warning("ledger.behind", reason=str(error))
            return now + LEDGER_PAUSE
        for one in owed:
            if one.number in running:
                continue  # also if it has ended since the ledger was asked
            if one.due > now:
                return one.due
            if len(self._running) >= hooks.parallel:
                break  # the end of one of them rings
            self._running.add(one.number)
            attempts.start_soon(self._attempt, hooks, one)
        return math.inf

    async def _attempt(self, hooks: Hooks, owed: Owed) -> None:
        """Try once, and note the outcome."""
        log = _log.bind(name=owed.name)
        try:
            try:
                receipt = addressed(owed.receipt, owed.name, self._directory)
            except ValueError:
                await self._give_up(owed, "the receipt in the ledger is damaged", log)
                return
            log = log.bind(upload=receipt["upload"], id=receipt["id"])
            try:
                await self._send(hooks, receipt, self._directory)
            except HookError as error:
                await self._failed(owed, str(error), log)
            except Exception:  # the wall between a hook and the daemon
                log.exception("hook.error")
                await self._failed(owed, "a mistake of ours", log)
            else:
                self._failures, self._resume = 0, -math.inf
                self._metrics.attempted("delivered")
                with trio.CancelScope(shield=True):  # bounded by the ledger's own BUSY_SECONDS
                    await self._outbox.delivered(owed.number)
                log.info("hook.delivered", attempt=owed.attempts + 1)
        except LedgerError as error:
            # It is delivered again, which a receiver knows by the id; but not at once.
            log.warning("ledger.behind", reason=str(error))
            with self._shutdown.no_new_uploads.guard():
                await trio.sleep(LEDGER_PAUSE)
        finally:
            self._running.discard(owed.number)
            self._outbox.ring()

    async def _failed(self, owed: Owed, reason: str, log: FilteringBoundLogger) -> None:
        attempt = owed.attempts + 1
        seconds = wait(attempt, random.random())  # noqa: S311  spreads load, keeps no secret
        now = trio.current_time()
        self._failures += 1
        self._resume = now + pause(self._failures)
        if seconds is None:
            await self._give_up(owed, reason, log)
        else:
            self._metrics.attempted("retried")
            log.warning("hook.retry", reason=reason, attempt=attempt, next=round(seconds, 3))
            await self._outbox.put_off(owed.number, now + seconds)

    async def _give_up(self, owed: Owed, reason: str, log: FilteringBoundLogger) -> None:
        """Leave it to the next start."""
        self._metrics.attempted("failed")
        log.error("hook.failed", reason=reason, attempt=owed.attempts + 1)
        await self._outbox.put_off(owed.number, None)
