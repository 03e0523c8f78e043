import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.slowdown import (
    FIRST_DELAY,
    FORGET_AFTER,
    MAX_CLIENTS,
    MAX_DELAY,
    MAX_GAP,
    Slowdown,
)


def test_each_failure_waits_twice_as_long_up_to_a_bound() -> None:
    slowdown, now, waits = Slowdown(), 0.0, list[float]()
    for _ in range(8):
        waits.append(slowdown.failed("a", now))
        now += waits[-1]
    assert waits == pytest.approx([FIRST_DELAY, 0.5, 1, 2, 4, MAX_GAP, MAX_GAP, MAX_GAP])


def test_another_client_does_not_pay_for_it() -> None:
    slowdown = Slowdown()
    for _ in range(3):
        slowdown.failed("a", 0.0)
    assert slowdown.failed("b", 0.0) == FIRST_DELAY


def test_failures_are_forgotten() -> None:
    slowdown = Slowdown()
    for _ in range(20):
        slowdown.failed("a", 0.0)
    assert slowdown.failed("a", FORGET_AFTER) == FIRST_DELAY


def test_failures_at_once_stand_in_line_up_to_a_bound() -> None:
    slowdown = Slowdown()
    waits = [slowdown.failed("a", 0.0) for _ in range(10)]
    assert waits[:5] == [0.25, 0.75, 1.75, 3.75, 7.75]
    assert waits[6:] == [MAX_DELAY] * 4


def test_no_more_clients_are_remembered_than_there_is_room_for() -> None:
    slowdown = Slowdown()
    for number in range(MAX_CLIENTS + 1):
        slowdown.failed(str(number), 0.0)
    assert slowdown.failed("1", 0.0) > FIRST_DELAY
    assert slowdown.failed("0", 0.0) == FIRST_DELAY


@given(st.lists(st.floats(0, 100), max_size=60))
def test_a_wait_is_never_too_short_nor_too_long(pauses: list[float]) -> None:
    slowdown, now = Slowdown(), 0.0
    for pause in pauses:
        now += pause
        assert FIRST_DELAY - 1e-9 <= slowdown.failed("a", now) <= MAX_DELAY + 1e-9
