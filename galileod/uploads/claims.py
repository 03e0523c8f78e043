"""Which connection an upload with a key belongs to: of two that claim it, the newer one wins."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field, frozen

from galileod.ledger.lease import elapsed
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Metadata
from galileod.shutdown import Interrupt

UnlessEnded = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


@frozen
class Kept:
    """What is kept after an upload failed: the first `offset` bytes, for `seconds`."""

    offset: int
    seconds: int


@define(eq=False)
class Claim:
    """One connection's claim to an upload; without a `key`, no other connection can have one.

    `key` and `metadata` are those of `ledger.base.Resumable`. `lost` fires when a newer connection
    claims the upload. After `finished` has come, that one waits instead, and hears `verdict` if the
    upload failed. `kept` is what is kept after it failed. It was made at the time `since`, by the
    clock of `Claims`.
    """

    key: str | None = None
    metadata: str = ""
    lost: Interrupt = field(init=False, factory=Interrupt)
    finished: bool = field(init=False, default=False)
    verdict: Fault | None = field(init=False, default=None)
    kept: Kept | None = field(init=False, default=None)
    since: float = field(init=False, default=0.0)
    _released: trio.Event = field(init=False, factory=trio.Event)

    def check(self, metadata: str) -> None:
        """Raise a Fault, `bad_metadata`, if the key is known with other metadata."""
        if metadata != self.metadata:
            raise Fault(
                FaultCode.BAD_METADATA,
                "The key `upload` belongs to a file with another name, size, folder or modification"
                " time.",
                key="upload",
            )

    def release(self) -> None:
        """Let the connection that waits for this claim go on."""
        self._released.set()

    async def wait_released(self) -> None:
        """Wait until the connection with this claim neither reads nor writes the upload."""
        await self._released.wait()


def make_claim(metadata: Metadata, user: str, *, authenticated: bool) -> Claim:
    """The claim of a connection to the upload in `metadata`, which must have a key.

    The key of an authenticated user is valid for that user. Otherwise it is valid from any address.
    """
    owner = f"user {user}" if authenticated else "anybody"
    fixed = [metadata.name, metadata.size, metadata.folder, metadata.modified]
    return Claim(_hash(f"{owner}\0{metadata.upload}"), _hash(json.dumps(fixed)))


class Claims:
    """The claims to all uploads that run here, in the order in which they were made.

    `clock` is as for a Lease: it goes on while the process is stopped, as that of other nodes does.
    """

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self._by_key: dict[str, list[Claim]] = {}
        self._clock = clock

    @asynccontextmanager
    async def hold(
        self, claim: Claim, seconds: float, unless_ended: UnlessEnded
    ) -> AsyncIterator[None]:
        """Hold the claim for the block; stop older ones, and wait until they have stopped.

        `unless_ended` runs the wait, and raises if the connection ends meanwhile. Raises a Fault:
        `bad_metadata` if the upload has other metadata, which stops nobody; `busy` if an older
        claim is not released within `seconds`; `taken_over` if a newer claim comes during the wait;
        and the fault with which an older one failed after its `finished`.
        """
        if claim.key is None:
            yield
            return
        older = self.enter(claim)
        try:
            if older:
                await unless_ended(partial(wait_for, older, claim, seconds))
            yield
        except Fault as fault:
            claim.verdict = fault
            raise
        finally:
            self.leave(claim)

    def enter(self, claim: Claim) -> list[Claim]:
        """Hold the claim until `leave`; returns older ones, for which `wait_for` is to be called.

        Raises a Fault: `bad_metadata` as `hold`.
        """
        if claim.key is None:
            return []
        held = self._by_key.get(claim.key, [])
        for each in held:
            claim.check(each.metadata)
        older = list(held)
        claim.since = self._clock()
        self._by_key[claim.key] = [*held, claim]
        return older

    def leave(self, claim: Claim) -> None:
        """Let the connections that wait for the claim go on."""
        if claim.key is None:
            return
        held = self._by_key[claim.key]
        held.remove(claim)
        if not held:
            del self._by_key[claim.key]
        claim.release()

    def age(self, claim: Claim) -> float:
        """The seconds since the claim was made. May be called from any thread."""
        return self._clock() - claim.since

    def stop(self, key: str, age: float) -> Sequence[Claim]:
        """Stop the claims that are older than `age` seconds, unless they have finished.

        Returns those that have the key.
        """
        held = self._by_key.get(key, [])
        for each in held:
            if self.age(each) > age and not each.finished:
                each.lost.fire()
        return held


async def wait_for(older: Sequence[Claim], claim: Claim, seconds: float) -> None:
    """Stop `older` claims, and wait until they are released. Raises a Fault: see `Claims.hold`."""
    for each in older:
        if not each.finished:
            each.lost.fire()
    with claim.lost.guard() as lost, trio.move_on_after(seconds) as limit:
        for each in older:
            await each.wait_released()
    if lost.cancelled_caught:
        raise taken_over()
    if limit.cancelled_caught:
        raise Fault(
            FaultCode.BUSY, "An earlier connection is still storing this upload. Try again later."
        )
    for each in older:
        if each.finished and each.verdict is not None:
            claim.kept = each.kept
            raise each.verdict


def taken_over() -> Fault:
    """The fault for an upload that a newer connection continues."""
    return Fault(FaultCode.TAKEN_OVER, "Another connection continues this upload.")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
