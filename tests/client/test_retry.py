"""Whether, and when, to try again."""

from collections.abc import Callable
from itertools import count

import pytest
from attrs import evolve
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
from galileod.client.retry import (
    MAX_RETRY_AFTER,
    MAX_WAIT,
    RETRIES,
    UNREACHED,
    Contact,
    RetryPolicy,
)

TRANSIENT: list[SendError] = [
    ConnectError("x"),
    LostError("x"),
    *(UpgradeError("x", status) for status in (408, 425, 429, 500, 502, 503, 504)),
    *(UpgradeError("x", status) for status in (520, 521, 522, 523, 524, 525, 526, 527, 530)),
    RefusedError({"error": "x", "fatal": True, "code": "busy"}),
    RefusedError({"error": "x", "fatal": True, "code": "shutting_down"}),
    RefusedError({"error": "x", "fatal": True, "code": "idle"}, extended=True),
    RefusedError({"error": "x", "fatal": True, "code": "too_slow"}, extended=True),
    RefusedError({"error": "x", "fatal": True, "code": "storage_failed"}, resumable=True),
]
FINAL: list[SendError] = [
    ConnectError("x", transient=False),
    LostError("x", uncertain=True),
    *(UpgradeError("x", status) for status in (200, 301, 400, 401, 403, 404, 407, 413, 426)),
    *(UpgradeError("x", status) for status in (501, 505, 519, 531)),
    RefusedError({"error": "x", "fatal": True, "code": "no_space"}),
    RefusedError({"error": "x", "fatal": True}),
    RefusedError({"error": "x", "fatal": True, "code": "idle"}),
    RefusedError({"error": "x", "fatal": True, "code": "storage_failed"}, extended=True),
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


def waits(contact: Contact, error: Callable[[], ConnectError]) -> list[float]:
    """The waits after attempts that fail at once, from the time 100 on."""
    now, given = 100.0, list[float]()
    contact.begin(now)
    for attempt in count(1):
        wait = contact.wait(error(), attempt, repeatable=True, random=lambda: 1.0, now=now)
        if wait is None:
            break
        given.append(wait)
        now += wait
    return given


def unreached() -> ConnectError:
    return ConnectError("Nobody listens.", unreached=True)


def unknown() -> ConnectError:
    return ConnectError("There is no such host.", transient=False, unreached=True)


@given(st.floats(0.001, 60), st.integers(0, 1000))
def test_one_that_never_accepted_a_connection_is_tried_for_a_few_seconds(
    delay: float, retries: int
) -> None:
    given_up = waits(Contact(RetryPolicy(retries, delay)), unreached)
    assert sum(given_up) <= UNREACHED + 1e-9
    assert len(given_up) == retries or sum(given_up) == pytest.approx(UNREACHED)


@pytest.mark.parametrize("error", [unreached, unknown])
def test_it_is_tried_on_if_that_is_asked_for_or_it_has_accepted_one(
    error: Callable[[], ConnectError],
) -> None:
    policy = RetryPolicy(retries=9, delay=1)
    assert len(waits(Contact(evolve(policy, connrefused=True)), error)) == 9
    assert len(waits(Contact(policy, accepted=True), error)) == 9


def test_a_host_that_was_never_found_is_not_looked_for_again() -> None:
    assert waits(Contact(RetryPolicy()), unknown) == []


@pytest.mark.parametrize(
    "error", [ConnectError("x"), LostError("x"), UpgradeError("x", 503), NonsenseError("x")]
)
def test_any_other_error_of_a_connection_shows_that_it_was_accepted(error: SendError) -> None:
    contact = Contact(RetryPolicy())
    contact.wait(error, 1, repeatable=True, random=lambda: 1.0, now=0.0)
    assert contact.accepted


def test_a_file_that_cannot_be_read_does_not() -> None:
    contact = Contact(RetryPolicy())
    contact.wait(SourceError("x"), 1, repeatable=True, random=lambda: 1.0, now=0.0)
    assert not contact.accepted
