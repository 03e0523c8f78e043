from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.slowdown import FORGET, LONGEST, MAX_CLIENTS, MOST, Slowdown


def test_who_never_failed_does_not_wait() -> None:
    slowdown = Slowdown()
    assert [slowdown.wait("a", now) for now in (0.0, 0.0, 1.0)] == [0, 0, 0]


def test_another_client_does_not_pay_for_it() -> None:
    slowdown = Slowdown()
    slowdown.failed("a", 0.0)
    assert slowdown.wait("b", 0.0) == 0
    assert slowdown.wait("a", 0.0) == 0.25


def test_failures_are_forgotten() -> None:
    slowdown = Slowdown()
    for _ in range(20):
        slowdown.failed("a", 0.0)
    assert slowdown.wait("a", FORGET) == 0


def test_tries_at_once_stand_in_line_up_to_a_bound() -> None:
    slowdown = Slowdown()
    for _ in range(10):
        slowdown.failed("a", 0.0)
    waits = [slowdown.wait("a", 0.0) for _ in range(10)]
    assert waits[:3] == [MOST, 2 * MOST, 3 * MOST]
    assert waits[3:] == [None] * 7


def test_no_more_clients_are_remembered_than_there_is_room_for() -> None:
    slowdown = Slowdown()
    for number in range(MAX_CLIENTS + 1):
        slowdown.failed(str(number), 0.0)
    assert slowdown.wait("0", 0.0) == 0
    assert slowdown.wait("1", 0.0) == 0.25


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=60))
def test_a_wait_is_bounded_and_tries_are_never_closer_than_the_first_gap(
    steps: list[tuple[bool, float]],
) -> None:
    slowdown, now, last = Slowdown(), 0.0, None
    for fails, pause in steps:
        now += pause
        if fails:
            slowdown.failed("a", now)
            last = None
            continue
        wait = slowdown.wait("a", now)
        assert wait is None or 0 <= wait <= LONGEST
        if wait and last is not None:
            assert now + wait >= last + 0.25 - 1e-9
        last = now + wait if wait else None
