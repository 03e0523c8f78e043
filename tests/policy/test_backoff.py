"""When the hook is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.backoff import ATTEMPTS, DOWN_AFTER, LONGEST, LONGEST_PAUSE, pause, wait

CHANCES = st.floats(0, 1)


@given(st.integers(1, ATTEMPTS - 1), CHANCES)
def test_a_wait_doubles_up_to_an_hour_and_half_of_it_is_by_chance(
    attempts: int, chance: float
) -> None:
    seconds = wait(attempts, chance)
    assert seconds is not None
    longest = min(LONGEST, 2 ** (attempts - 1))
    assert seconds == longest * (1 + chance) / 2


@given(st.integers(ATTEMPTS, 10**9), CHANCES)
def test_at_some_time_it_is_given_up(attempts: int, chance: float) -> None:
    assert wait(attempts, chance) is None


def test_all_waits_together_are_about_a_day() -> None:
    hours = sum(wait(attempts, 0.5) or 0 for attempts in range(1, ATTEMPTS)) / 3600
    assert 23 < hours < 25


@given(st.integers(0, DOWN_AFTER - 1))
def test_a_few_failures_do_not_hold_up_other_deliveries(failures: int) -> None:
    assert pause(failures) == 0


@given(st.integers(DOWN_AFTER, 10**9))
def test_a_hook_that_is_down_is_looked_at_ever_more_seldom_but_within_a_minute(
    failures: int,
) -> None:
    assert 1 <= pause(failures) <= pause(failures + 1) <= LONGEST_PAUSE
