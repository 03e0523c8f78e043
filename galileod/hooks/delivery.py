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
from galileod.ledger.outage import is_outage
from galileod.ledger.outbox import KINDS, Kind, Outbox, Owed
from galileod.metrics import Metrics
from galileod.policy.backoff import pause, wait
from galileod.shutdown import Shutdown

from .command import run_command
from .post import post
from .receipt import complete_receipt
from .settings import Hook, HookError, Hooks

LEDGER_PAUSE: Final = 60.0
"""Seconds until the ledger is used again after an error of it."""

HOLD_MARGIN: Final = 60.0
"""Seconds beyond the time limit of an attempt for which no other node makes one: for the end of the
hook's process, and for the ledger, which records the outcome."""

Receipt = dict[str, object]
Send = Callable[[Hooks, Hook, Receipt], Awaitable[None]]
"""Makes one attempt. Raises HookError."""

_log: FilteringBoundLogger = structlog.get_logger()


async def send(hooks: Hooks, hook: Hook, receipt: Receipt, *, directory: str) -> None:
    """Make one attempt with `hook`, one of `hooks`. A command runs in `directory`.

    Raises HookError.
    """
    body = json.dumps(receipt).encode()
    if isinstance(hook, str):
        number = str(receipt["id"])
        await post(hook, body, number, hooks.secret_file, hooks.timeout)
    else:
        await run_command(hook, body, directory, hooks.timeout)


def hook_for(hooks: Hooks, kind: Kind) -> Hook:
    """The hook that gets receipts of this kind."""
    return hooks.removed if kind == "removed" else hooks.stored


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
        send: Send,
    ) -> None:
        self._outbox = outbox
        self._hooks = hooks
        self._metrics = metrics
        self._shutdown = shutdown
        self._location = location
        self._send = send
        self._running: set[int] = set()
        # Of each hook, one of which may be down while the other is not.
        self._failures = dict.fromkeys(KINDS, 0)
        self._resume = dict.fromkeys(KINDS, -math.inf)

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
        for kind in (kind for kind in KINDS if not hook_for(self._hooks(), kind)):
            try:
                count = await self._outbox.count([kind])
            except LedgerError:
                return  # only the warning is lost; uploads log the same error
            if count:
                _log.warning("hook.waiting", deliveries=count, reason=f"hooks.{kind} is not set")

    async def _begin(self, attempts: trio.Nursery) -> float:
        """Begin the attempts that are due; returns the time of the next call on trio's clock."""
        hooks = self._hooks()
        now = trio.current_time()
        if len(self._running) >= hooks.parallel:
            return math.inf
        resume = {kind: self._resume[kind] for kind in KINDS if hook_for(hooks, kind)}
        kinds = [kind for kind, time in resume.items() if time <= now]
        again = now + self._outbox.look_again
        paused = min([again, *(time for time in resume.values() if time > now)])
        if not kinds:
            return paused
        running = frozenset(self._running)
        try:
            # Receipts whose attempts are running are still in the outbox. So this is enough, and
            # few are held that must wait for the end of an attempt.
            owed = await self._outbox.first(hooks.parallel, kinds, hooks.timeout + HOLD_MARGIN)
        except LedgerError as error:
            if not is_outage(error):
                _log.warning("ledger.behind", reason=str(error))
            return now + LEDGER_PAUSE
        for one in owed:
            if one.number in running:
                continue  # its attempt runs, or ended after the outbox was read
            if one.wait > 0:
                return min(paused, trio.current_time() + one.wait)
            if len(self._running) >= hooks.parallel:
                break  # the end of an attempt calls notify
            self._running.add(one.number)
            attempts.start_soon(self._attempt, hooks, one)
        return paused

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
                await self._send(hooks, hook_for(hooks, owed.kind), receipt)
            except HookError as error:
                await self._failed(owed, str(error), log)
            except Exception:  # a defect in a hook's attempt must not end the daemon
                log.exception("hook.error")
                await self._failed(owed, "internal error", log)
            else:
                self._failures[owed.kind], self._resume[owed.kind] = 0, -math.inf
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
        self._failures[owed.kind] += 1
        self._resume[owed.kind] = trio.current_time() + pause(self._failures[owed.kind])
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
