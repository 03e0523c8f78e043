"""The lease of a node: when its holder believes that it may write."""

from collections.abc import Sequence

import pytest
import trio
from attrs import define
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.ledger.lease import (
    LEASE_SECONDS,
    MARGIN,
    WAIT_SECONDS,
    Lease,
    LeaseLostError,
    LeaseRunOutError,
    elapsed,
)

VALID = LEASE_SECONDS - MARGIN


@define
class Database:
    """Where a lease begins when the request arrives, by a clock of its own."""

    offset: float
    rate: float
    until: float = 0.0

    def now(self) -> float:
        return self.offset + self.rate * trio.current_time()

    def renew(self) -> None:
        self.until = self.now() + LEASE_SECONDS

    def may_be_given_to_another(self) -> bool:
        return self.now() >= self.until


@define(frozen=True)
class Request:
    """It is sent after a `pause`, takes its time in both directions, and its answer may be lost."""

    pause: float
    there: float
    back: float
    answered: bool = True


SECONDS = st.floats(0, 30, allow_nan=False)
REQUESTS = st.lists(st.builds(Request, SECONDS, SECONDS, SECONDS, st.booleans()), max_size=8)


@given(REQUESTS, st.floats(-1e6, 1e6), st.floats(0.7, 1.4))
@example([Request(5, 0, 0)] * 6, 0.0, 1.0)
@example([Request(0, 0, 14), Request(0, 14, 0)], 0.0, 1.4)
def test_the_holder_is_never_valid_when_the_database_would_give_it_to_another(
    requests: Sequence[Request], offset: float, rate: float
) -> None:
    trio.run(hold, requests, Database(offset, rate), clock=MockClock(autojump_threshold=0))


async def hold(requests: Sequence[Request], database: Database) -> None:
    """Renew a lease by these requests, and compare what both sides believe all the time."""
    lease = Lease(trio.current_time)

    async def renew() -> None:
        for request in requests:
            await trio.sleep(request.pause)
            sent = lease.now()
            await trio.sleep(request.there)
            database.renew()
            await trio.sleep(request.back)
            if request.answered:
                lease.renewed(sent)
                compare()
        await trio.sleep(2 * LEASE_SECONDS)
        nursery.cancel_scope.cancel()

    def compare() -> None:
        assert not (lease.is_valid() and database.may_be_given_to_another())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew)
        while True:
            compare()
            await trio.sleep(0.1)


async def test_it_is_valid_from_its_first_renewal_until_it_runs_out(
    autojump_clock: MockClock,
) -> None:
    lease = Lease(trio.current_time)
    assert lease.state() == "run out"
    lease.renewed(lease.now())
    await lease.wait_valid()
    await trio.sleep(VALID - 0.01)
    assert lease.state() == "valid"
    await trio.sleep(0.02)
    assert lease.state() == "run out"


async def test_an_answer_that_comes_late_does_not_shorten_what_a_later_request_has_brought(
    autojump_clock: MockClock,
) -> None:
    lease = Lease(trio.current_time)
    early = lease.now()
    await trio.sleep(4)
    lease.renewed(lease.now())
    lease.renewed(early)
    await trio.sleep(VALID - 1)
    assert lease.is_valid()


async def test_who_writes_waits_while_it_has_run_out(autojump_clock: MockClock) -> None:
    lease, went_on = Lease(trio.current_time), list[float]()

    async def write() -> None:
        await lease.wait_valid()
        went_on.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.sleep(60)
        assert not went_on
        lease.renewed(lease.now())
    assert went_on == [60]


async def test_nobody_waits_for_ever(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(LeaseRunOutError):
        await Lease(trio.current_time).wait_valid()
    assert trio.current_time() - began == pytest.approx(WAIT_SECONDS)


async def test_who_waits_hears_that_it_is_lost(autojump_clock: MockClock) -> None:
    lease, heard = Lease(trio.current_time), list[str]()

    async def write() -> None:
        try:
            await lease.wait_valid()
        except LeaseLostError as error:
            heard.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        lease.lose()
    assert heard


async def test_once_lost_it_is_not_valid_again_by_a_late_answer(autojump_clock: MockClock) -> None:
    lease = Lease(trio.current_time)
    sent = lease.now()
    lease.renewed(sent)
    lease.lose()
    lease.renewed(sent)
    assert lease.state() == "lost"
    assert lease.lost.fired
    with pytest.raises(LeaseLostError):
        await lease.wait_valid()
    with pytest.raises(LeaseLostError), lease.using():
        pass


async def test_it_begins_again_only_when_what_used_it_has_ended(autojump_clock: MockClock) -> None:
    lease, began = Lease(trio.current_time), trio.Event()

    async def begin_again() -> None:
        await lease.wait_unused()
        lease.begin(lease.now())
        began.set()

    async with trio.open_nursery() as nursery:
        lease.renewed(lease.now())
        with lease.using():
            lease.lose()
            nursery.start_soon(begin_again)
            await wait_all_tasks_blocked()
            assert not began.is_set()
        with trio.fail_after(1):
            await began.wait()
    assert lease.state() == "valid"


def test_its_clock_goes_on() -> None:
    """It is no clock of trio's: those leave out the time in which the process is stopped."""
    before = elapsed()
    assert elapsed() >= before > 0
