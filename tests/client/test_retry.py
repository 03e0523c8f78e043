"""Whether, and when, to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.client.errors import (
    ConnectError,
    LostError,
    NonsenseError,
    OptionError,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from galileod.client.retry import MAX_RETRY_AFTER, MAX_WAIT, RETRIES, RetryPolicy

TRANSIENT: list[SendError] = [
    ConnectError("x"),
    LostError("x"),
    UpgradeError("x", 503),
    UpgradeError("x", 429),
    UpgradeError("x", 502),
    UpgradeError("x", 504),
    RefusedError({"error": "x", "fatal": True, "code": "busy"}),
    RefusedError({"error": "x", "fatal": True, "code": "shutting_down"}),
]
FINAL: list[SendError] = [
    ConnectError("x", transient=False),
    LostError("x", uncertain=True),
    UpgradeError("x", 403),
    UpgradeError("x", 401),
    UpgradeError("x", 500),
    RefusedError({"error": "x", "fatal": True, "code": "no_space"}),
    RefusedError({"error": "x", "fatal": True}),
    NonsenseError("x"),
    SourceError("x"),
    OptionError("x"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_the_transport_did_is_tried_again(error: SendError) -> None:
    policy = RetryPolicy(retries=2, delay=1)
    assert policy.wait(error, 1, repeatable=True, random=lambda: 1.0) == 1
    assert policy.wait(error, 2, repeatable=True, random=lambda: 1.0) == 2
    assert policy.wait(error, 3, repeatable=True, random=lambda: 1.0) is None


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_would_fail_again_or_be_stored_twice_is_not(error: SendError) -> None:
    assert RetryPolicy().wait(error, 1, repeatable=True, random=lambda: 0.0) is None


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_can_be_read_only_once_is_sent_only_once(error: SendError) -> None:
    assert RetryPolicy().wait(error, 1, repeatable=False, random=lambda: 0.0) is None


@given(st.integers(1, 10**6), st.floats(0, 1), st.just(0.0) | st.floats(0.001, 1000))
def test_a_wait_is_bounded_and_at_least_half_by_the_doubling(
    attempt: int, chance: float, delay: float
) -> None:
    policy = RetryPolicy(retries=10**6, delay=delay)
    wait = policy.wait(LostError("x"), attempt, repeatable=True, random=lambda: chance)
    assert wait is not None
    longest = min(MAX_WAIT, delay * 2 ** min(attempt - 1, 60))
    assert longest / 2 <= wait <= longest


def test_by_default_a_server_may_be_away_for_half_a_minute() -> None:
    policy = RetryPolicy()
    for chance, least in ((0.0, 30), (1.0, 60)):
        waits = [
            policy.wait(LostError("x"), attempt, repeatable=True, random=lambda: chance)  # noqa: B023
            for attempt in range(1, RETRIES + 1)
        ]
        assert sum(wait or 0 for wait in waits) > least


def test_a_server_that_says_how_long_is_waited_for() -> None:
    policy = RetryPolicy(retries=1, delay=1)
    for asked, wait in (
        (7.0, 7.0),
        (0.0, 1.0),
        (MAX_RETRY_AFTER, MAX_RETRY_AFTER),
        (MAX_RETRY_AFTER + 1, None),
    ):
        error = UpgradeError("x", 503, retry_after=asked)
        assert policy.wait(error, 1, repeatable=True, random=lambda: 1.0) == wait
