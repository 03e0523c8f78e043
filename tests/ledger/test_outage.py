"""How steps outlast an outage of the database, and what the log says of one."""

import pytest
import trio
from helpers.nodes import FakeNode
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.ledger.base import LedgerError, UncertainError
from galileod.ledger.lease import LEASE_SECONDS, WAIT_SECONDS, Lease, LeaseLostError
from galileod.ledger.outage import LONGEST_PAUSE, REMIND_SECONDS, Outages, outlast
from galileod.ledger.unavailable import UnavailableError

AWAY = UnavailableError("the database is away")


class Step:
    """Fails until a time, at each of `times`."""

    def __init__(self, until: float, error: LedgerError = AWAY) -> None:
        self.times: list[float] = []
        self._until = until
        self._error = error

    async def __call__(self) -> str:
        await trio.lowlevel.checkpoint()
        self.times.append(trio.current_time())
        if trio.current_time() < self._until:
            raise self._error
        return "done"


@pytest.mark.parametrize("error", [AWAY, UncertainError("nobody knows")])
async def test_a_step_is_repeated_until_the_database_is_back(
    autojump_clock: MockClock, error: LedgerError
) -> None:
    step = Step(100, error)
    assert await outlast(FakeNode().lease, step) == "done"
    pauses = [after - before for before, after in zip(step.times, step.times[1:], strict=False)]
    assert pauses[0] < 1
    assert max(pauses) <= LONGEST_PAUSE
    assert step.times[-1] <= 100 + LONGEST_PAUSE


async def test_a_step_is_not_repeated_for_ever(autojump_clock: MockClock) -> None:
    step = Step(10 * WAIT_SECONDS)
    with pytest.raises(UnavailableError):
        await outlast(FakeNode().lease, step)
    assert trio.current_time() == pytest.approx(WAIT_SECONDS, abs=LONGEST_PAUSE)


async def test_another_error_is_raised_at_once(autojump_clock: MockClock) -> None:
    step = Step(100, LedgerError("the disk is full"))
    with pytest.raises(LedgerError):
        await outlast(FakeNode().lease, step)
    assert len(step.times) == 1


async def test_a_step_is_repeated_as_soon_as_the_lease_is_renewed(
    autojump_clock: MockClock,
) -> None:
    lease, step = FakeNode().lease, Step(31)

    async def renew() -> None:
        await trio.sleep(31)
        lease.renewed(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew)
        await outlast(lease, step)
    assert step.times[-1] == 31


@pytest.mark.parametrize("lost", [False, True])
async def test_nobody_waits_once_the_daemon_ends_or_the_lease_is_lost(
    autojump_clock: MockClock, *, lost: bool
) -> None:
    lease, step = FakeNode().lease, Step(1000)

    async def end() -> None:
        await trio.sleep(10)
        if lost:
            lease.lose()
        else:
            lease.hurry()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(LeaseLostError if lost else UnavailableError):
            await outlast(lease, step)
    assert trio.current_time() == 10
    assert step.times[-1] < 10


async def test_a_lease_is_not_waited_for_once_the_daemon_ends(autojump_clock: MockClock) -> None:
    lease = Lease(trio.current_time)
    lease.renewed(trio.current_time())
    await trio.sleep(LEASE_SECONDS)
    lease.hurry()
    with pytest.raises(LedgerError):
        await lease.wait_valid()
    assert trio.current_time() == LEASE_SECONDS


# Others are taken for dead only while the database answers.


def test_a_lease_is_steady_once_it_was_renewed_regularly_for_as_long_as_one_lasts() -> None:
    clock = Clock()
    lease = Lease(clock)
    steady = list[bool]()
    for _ in range(4):
        lease.renewed(clock.now)
        steady.append(lease.is_steady())
        clock.now += LEASE_SECONDS / 3
    assert steady == [False, False, False, True]


def test_a_lease_is_not_steady_while_the_database_hangs_and_for_a_while_after() -> None:
    clock = Clock()
    lease = Lease(clock)
    for _ in range(5):
        clock.now += LEASE_SECONDS / 3
        lease.renewed(clock.now)
    assert lease.is_steady()
    clock.now += 0.6 * LEASE_SECONDS
    assert lease.is_valid()
    assert not lease.is_steady()
    lease.renewed(clock.now)
    assert not lease.is_steady()
    lease.lose()
    assert not lease.is_steady()


# The log.


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(outages: Outages) -> None:
    with pytest.raises(UnavailableError), outages.watch():
        raise AWAY


def test_an_outage_is_logged_once_again_each_minute_and_at_its_end() -> None:
    clock = Clock()
    outages = Outages(clock)
    with capture_logs() as logged:
        for _ in range(int(2.5 * REMIND_SECONDS)):
            fail(outages)
            clock.now += 1
        for _ in range(3):
            with outages.watch():
                pass
    assert [(line["event"], line["seconds"]) for line in logged] == [
        ("ledger.away", 0),
        ("ledger.away", 60),
        ("ledger.away", 120),
        ("ledger.back", 150),
    ]


def test_a_database_that_comes_and_goes_is_logged_once_a_minute() -> None:
    clock = Clock()
    outages = Outages(clock)
    with capture_logs() as logged:
        for _ in range(int(REMIND_SECONDS)):
            fail(outages)
            with outages.watch():
                pass
            clock.now += 1
    assert [line["event"] for line in logged] == ["ledger.away", "ledger.back"]


def test_another_error_is_no_outage() -> None:
    outages = Outages()
    with capture_logs() as logged, pytest.raises(LedgerError), outages.watch():
        raise LedgerError("the disk is full")
    assert not logged
