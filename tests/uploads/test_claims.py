"""Two connections claim one upload: which of them has it, and what the other one hears."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Metadata
from galileod.uploads.claims import Claim, Claims, Kept, make_claim, taken_over

KEY = "9f" * 16
FILE = Metadata("a.bin", 100, folder="june", modified=7, can=frozenset({"resume"}), upload=KEY)


async def unless_ended(wait: Callable[[], Awaitable[None]]) -> None:
    await wait()


def claim_of(metadata: Metadata = FILE, user: str = "anna", *, authenticated: bool = True) -> Claim:
    return make_claim(metadata, user, authenticated=authenticated)


@define
class Connections:
    """Connections that claim the same upload, and what each of them did."""

    claims: Claims = field(factory=Claims)
    events: list[str] = field(factory=list)
    holding: int = 0

    async def serve(
        self,
        name: str,
        *,
        seconds: float = 1000,
        finished: bool = False,
        verdict: Fault | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Hold a claim for `seconds`, or until it is lost; then fail with `verdict`."""
        claim = claim or claim_of()
        try:
            async with self.claims.hold(claim, 60, unless_ended):
                self.holding += 1
                assert self.holding == 1
                self.events.append(f"{name} has it")
                claim.finished = finished
                try:
                    with claim.lost.guard() if not finished else trio.CancelScope() as lost:
                        await trio.sleep(seconds)
                    if lost.cancelled_caught:
                        await trio.sleep(1)  # its last write
                        raise taken_over()
                    if verdict:
                        claim.kept = Kept(5, 60)
                        raise verdict
                finally:
                    self.holding -= 1
            self.events.append(f"{name} stored it")
        except Fault as fault:
            self.events.append(f"{name} heard {fault.code}")


async def test_the_newer_claim_wins_once_the_older_has_written_its_last(
    autojump_clock: MockClock,
) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connections.serve, "the older")
        await wait_all_tasks_blocked()
        await connections.serve("the newer", seconds=1)
    assert connections.events == [
        "the older has it", "the older heard taken_over", "the newer has it", "the newer stored it",
    ]  # fmt: skip


async def test_of_three_the_newest_wins_and_the_one_that_waits_is_taken_over(
    autojump_clock: MockClock,
) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        for name in ("first", "second"):
            nursery.start_soon(connections.serve, name)
            await wait_all_tasks_blocked()
        await connections.serve("third", seconds=1)
    assert connections.events == [
        "first has it", "second heard taken_over", "first heard taken_over", "third has it",
        "third stored it",
    ]  # fmt: skip


async def test_after_finished_the_newer_waits(autojump_clock: MockClock) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: connections.serve("the older", seconds=50, finished=True))
        await wait_all_tasks_blocked()
        await connections.serve("the newer", seconds=1)
    assert connections.events == [
        "the older has it", "the older stored it", "the newer has it", "the newer stored it",
    ]  # fmt: skip


async def test_after_finished_the_newer_hears_the_fault_and_what_is_kept(
    autojump_clock: MockClock,
) -> None:
    connections, newer = Connections(), claim_of()
    verdict = Fault(FaultCode.HASH_MISMATCH, "They differ.")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: connections.serve("the older", seconds=50, finished=True, verdict=verdict)
        )
        await wait_all_tasks_blocked()
        await connections.serve("the newer", claim=newer)
    assert connections.events == [
        "the older has it", "the older heard hash_mismatch", "the newer heard hash_mismatch",
    ]  # fmt: skip
    assert newer.kept == Kept(5, 60)


async def test_the_wait_is_limited(autojump_clock: MockClock) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: connections.serve("the older", seconds=61, finished=True))
        await wait_all_tasks_blocked()
        await connections.serve("the newer")
    assert connections.events == [
        "the older has it", "the newer heard busy", "the older stored it",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        Metadata("b.bin", 100, folder="june", modified=7, upload=KEY),
        Metadata("a.bin", 101, folder="june", modified=7, upload=KEY),
        Metadata("a.bin", 100, folder=None, modified=7, upload=KEY),
        Metadata("a.bin", 100, folder="june", modified=None, upload=KEY),
    ],
)
async def test_a_key_with_other_metadata_stops_nobody(
    other: Metadata, autojump_clock: MockClock
) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: connections.serve("the older", seconds=10))
        await wait_all_tasks_blocked()
        await connections.serve("the newer", claim=claim_of(other))
    assert connections.events == [
        "the older has it", "the newer heard bad_metadata", "the older stored it",
    ]  # fmt: skip


async def test_claims_without_a_key_do_not_concern_each_other(autojump_clock: MockClock) -> None:
    claims = Claims()
    async with claims.hold(Claim(), 60, unless_ended), claims.hold(Claim(), 60, unless_ended):
        pass


def test_the_key_of_a_user_is_another_for_another_user_and_for_anybody() -> None:
    keys = {
        claim_of(user="anna").key,
        claim_of(user="berta").key,
        claim_of(authenticated=False).key,
    }
    assert len(keys) == 3
    assert claim_of(user="1.2.3.4", authenticated=False).key == claim_of(authenticated=False).key


def test_neither_the_claim_nor_its_hash_shows_the_key() -> None:
    claim = claim_of()
    assert KEY not in repr(claim)
    assert claim.key is not None
    assert KEY not in claim.key


@frozen
class Arrival:
    after: float
    seconds: float
    finished: bool


@given(
    st.lists(
        st.builds(Arrival, st.floats(0, 20), st.floats(0, 100), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_at_most_one_connection_has_the_upload_and_nothing_stays_behind(
    arrivals: list[Arrival],
) -> None:
    connections = Connections()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            for number, arrival in enumerate(arrivals):
                await trio.sleep(arrival.after)
                serve = partial(
                    connections.serve,
                    str(number),
                    seconds=arrival.seconds,
                    finished=arrival.finished,
                )
                nursery.start_soon(serve)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    assert len(connections.events) >= len(arrivals)
    assert not connections.claims._by_key
