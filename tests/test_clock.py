"""The clock that leaves pauses out, on a system clock that the tests set."""

import math

import pytest
import trio
from helpers.clocks import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from galileod.clock import MAX_WAIT, RUNNING, TOLERANCE, ProcessClock

SECONDS = st.floats(0, 10_000)


class Loop:
    """What trio does with its clock, in one iteration after the other."""

    def __init__(self) -> None:
        self.system = FakeClock(0.0)
        self.clock = ProcessClock(self.system)
        self.clock.start_clock()
        self.began = self.clock.current_time()

    @property
    def time(self) -> float:
        return self.clock.current_time() - self.began

    def wait(self, deadline: float, late: float = 0.0, *, share: float = 1.0) -> float:
        """Wait for a deadline, or for the first event in a share of the time; then be late."""
        left = self.clock.deadline_to_sleep_time(deadline + self.began)
        assert 0 <= left <= MAX_WAIT
        self.system.now += left * share + late
        return self.time

    def run(self, seconds: float) -> float:
        """Tasks run for so long."""
        self.system.now += seconds
        return self.time

    def run_in_time(self, seconds: float) -> None:
        """Be busy for so long, and never late."""
        for _ in range(math.ceil(seconds / TOLERANCE)):
            self.run(TOLERANCE / 2)
            self.run(TOLERANCE / 2)


@given(st.lists(st.tuples(st.booleans(), SECONDS, st.floats(0, TOLERANCE * 0.99))))
def test_without_a_pause_it_is_the_systems_clock(steps: list[tuple[bool, float, float]]) -> None:
    loop = Loop()
    for waits, ahead, late in steps:
        if waits:
            loop.wait(loop.time + ahead, late)
        else:
            loop.run(late)
        assert loop.time == pytest.approx(loop.system.now, abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), SECONDS, SECONDS)))
def test_it_never_goes_backwards_nor_faster_than_the_systems_clock(
    steps: list[tuple[bool, float, float]],
) -> None:
    loop = Loop()
    for waits, ahead, late in steps:
        before, system_before = loop.time, loop.system.now
        after = loop.wait(before + ahead, late) if waits else loop.run(late)
        assert before <= after <= before + loop.system.now - system_before + 1e-6


@given(left=st.floats(0.001, 10_000), share=st.floats(0, 1), pause=st.floats(1.5, 1e6))
def test_no_deadline_is_over_because_of_a_pause_in_a_wait(
    left: float, share: float, pause: float
) -> None:
    loop = Loop()
    assert loop.wait(left, pause, share=share) == 0
    loop.run_in_time(2 * RUNNING)
    before = loop.time
    assert loop.wait(before + left, pause) == before


@given(pause=st.floats(TOLERANCE * 1.01, 1e6))
def test_no_deadline_is_over_because_of_a_pause_while_tasks_run(pause: float) -> None:
    loop = Loop()
    assert loop.run(pause) == 0
    loop.run_in_time(2 * RUNNING)
    before = loop.time
    assert loop.run(pause) == before


def test_the_wait_after_a_pause_ends_with_its_deadline() -> None:
    loop = Loop()
    loop.wait(0.5, 1000)
    assert loop.wait(0.5) == 0.5


@given(late=st.floats(0.01, 1000), waits=st.booleans())
def test_where_everything_is_late_it_advances_at_half_the_speed_at_least(
    late: float, *, waits: bool
) -> None:
    loop = Loop()
    steps = 2 * math.ceil(RUNNING / late) + 2
    for _ in range(steps):
        if waits:
            loop.wait(loop.time, late)
        else:
            loop.run(late)
    assert loop.time >= (loop.system.now - late) / 2 - 1e-6


@given(late=st.lists(st.floats(TOLERANCE, 1), max_size=5), pause=st.floats(4.1, 1e6))
def test_a_pause_is_left_out_where_much_is_a_little_late(late: list[float], pause: float) -> None:
    loop = Loop()
    for seconds in late:
        loop.run(seconds)
    before = loop.time
    assert loop.wait(before + 0.5, pause) == before


def test_trio_runs_with_it() -> None:
    system = FakeClock(5.0)

    async def sleep() -> float:
        began = trio.current_time()
        system.now += 100  # a pause
        with trio.move_on_after(0.01) as scope:
            system.now += 0.02
            await trio.sleep_forever()
        assert scope.cancelled_caught
        return trio.current_time() - began

    assert trio.run(sleep, clock=ProcessClock(system)) == pytest.approx(0.02)
