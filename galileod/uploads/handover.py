"""Uploads that go from one node to another: the one that has the newest connection."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import Final

import trio

from galileod.ledger.base import (
    KeptUpload,
    Ledger,
    LedgerError,
    RunningUpload,
    StoredUpload,
)
from galileod.ledger.elsewhere import LISTEN_SECONDS, Asked, Discarding, Elsewhere, RunningThere
from galileod.ledger.lease import LeaseLostError
from galileod.protocol.errors import Fault, FaultCode
from galileod.storage.errors import StorageError

from .claims import Claim, Claims, taken_over
from .keeper import Keeper
from .running import Running

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at an upload that another node is to release. Each pause is twice as
long as the one before."""

BETWEEN_LOOKS: Final = 0.05
"""Minimum seconds between two looks for what others ask. Each message leads to one, and a program
that is connected to the database can send any number."""

DISCARD_SECONDS: Final = 10.0
"""Maximum seconds that an administrator waits until another node has discarded an upload."""


class Handover:
    """Asks other nodes for uploads, and releases those for which others ask.

    `running` are the uploads that run here, by their ids.
    """

    def __init__(
        self, ledger: Ledger, keeper: Keeper, claims: Claims, running: Mapping[str, Running]
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._claims = claims
        self._running = running
        self._waiting: dict[str, trio.Event] = {}  # by key: one claim at a time waits

    async def wait(self, claim: Claim, seconds: float) -> KeptUpload | StoredUpload | None:
        """Have the node that runs an upload release it; returns what is found of it then.

        `claim` is held, and there is no older one here. Raises LeaseLostError and a Fault:
        `taken_over` if there is a newer claim, here or elsewhere; `busy` if the upload still runs
        after `seconds`, or the ledger has failed up to then.
        """
        elsewhere, asker = self._ledger.elsewhere, secrets.token_hex(8)
        if elsewhere is None or claim.key is None:
            raise RuntimeError("no other node runs uploads")
        try:
            with claim.lost.guard() as lost, trio.move_on_after(seconds):
                age = partial(self._claims.age, claim)
                return await self._wait(elsewhere, claim.key, asker, age)
        finally:
            with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
                await _withdraw(elsewhere.withdraw(claim.key, asker))
        if lost.cancelled_caught:
            raise taken_over()
        raise Fault(FaultCode.BUSY, "Another server is still storing this upload. Try again later.")

    async def _wait(
        self, elsewhere: Elsewhere, key: str, asker: str, age: Callable[[], float]
    ) -> KeptUpload | StoredUpload | None:
        pause, asked = FIRST_PAUSE, False
        try:
            while True:
                released = self._waiting[key] = trio.Event()
                try:
                    if not asked:
                        await elsewhere.ask(key, asker, age)
                        asked = True
                    answer = await elsewhere.look(key, asker)
                except LeaseLostError:
                    raise
                except LedgerError:
                    pass  # it may be back before the time is over
                else:
                    if isinstance(answer.upload, StoredUpload):
                        return answer.upload
                    if not answer.waits:
                        raise taken_over()
                    if not isinstance(answer.upload, RunningUpload):
                        return answer.upload
                with trio.move_on_after(pause):
                    await released.wait()
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._waiting.pop(key, None)

    async def discard(self, upload: str) -> tuple[RunningThere, Discarding] | None:
        """Have the node that runs an upload discard it; returns what has become of it then.

        None if no other node runs it, "running" if that node has not answered within
        DISCARD_SECONDS. Raises LedgerError.
        """
        elsewhere = self._ledger.elsewhere
        if elsewhere is None or (found := await elsewhere.ask_to_discard(upload)) is None:
            return None
        outcome: Discarding = "running"
        try:
            with trio.move_on_after(DISCARD_SECONDS):
                pause = FIRST_PAUSE
                while outcome == "running":
                    await trio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    outcome = await elsewhere.look_at_discard(upload)
        finally:
            with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
                await _withdraw(elsewhere.withdraw_discard(upload))
        return found, outcome

    async def run(self) -> None:
        """Release uploads for which other nodes ask, until cancelled."""
        elsewhere, looked = self._ledger.elsewhere, -inf
        while elsewhere is not None:
            await self._listen(elsewhere)
            await trio.sleep_until(looked + BETWEEN_LOOKS)
            looked = trio.current_time()
            try:
                for asked in await elsewhere.asked():
                    await self._let_go(elsewhere, asked)
                for upload in await elsewhere.to_discard():
                    await self._discard(elsewhere, upload)
            except (LedgerError, StorageError):
                # Each upload, and the health check, report what fails.
                await trio.sleep(LISTEN_SECONDS)

    async def _listen(self, elsewhere: Elsewhere) -> None:
        """Wait for messages, or until it is time to look for what others ask."""
        try:
            for key in await elsewhere.listen():
                if key in self._waiting:
                    self._waiting[key].set()
        except LedgerError:
            # It has a connection of its own, which may be the one that the server does not accept.
            await trio.sleep(LISTEN_SECONDS)

    async def _let_go(self, elsewhere: Elsewhere, asked: Asked) -> None:
        held = self._claims.stop(asked.key, asked.age)
        if not held:
            await self._drop(elsewhere, asked)
        elif any(self._claims.age(each) <= asked.age for each in held):
            await elsewhere.withdraw(asked.key, asked.asker)

    async def _discard(self, elsewhere: Elsewhere, upload: str) -> None:
        running = self._running.get(upload)
        if running is None:
            return  # it is about to begin or to end: the next look finds it, or what is left of it
        discards = not running.finished
        if discards:
            running.discard.fire()
        await elsewhere.answer(upload, discards=discards)

    async def _drop(self, elsewhere: Elsewhere, asked: Asked) -> None:
        """Drop what has remained of an upload that has ended here."""
        claim = Claim(asked.key, asked.metadata)
        self._claims.enter(claim)  # so that none begins meanwhile
        try:
            await self._keeper.find(asked.key)  # it may have been kept or stored
            await elsewhere.drop(asked.upload)
        finally:
            self._claims.leave(claim)


async def _withdraw(withdrawal: Awaitable[None]) -> None:
    try:
        await withdrawal
    except LedgerError:
        pass  # a newer one replaces it, and the ledger forgets it in time
