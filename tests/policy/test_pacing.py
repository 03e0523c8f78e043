"""The pacer by itself."""

import math
from collections import deque

import pytest
from helpers.crossings import (
    MAX,
    MIN,
    spread,
)
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.pacing import (
    FIRST_CHUNK,
    FIRST_WINDOW,
    LEAST_CREDIT,
    MIN_PARTIAL,
    Pacer,
    least_credit,
)


def answer(pacer: Pacer, length: int, seconds: float) -> None:
    """A credit is granted at 0, answered by a chunk of `length` bytes, and that stored."""
    pacer.granted(pacer.credit(0, 1 << 30), 0.0)
    pacer.arrived(length, seconds / 2, seconds)
    pacer.stored(length, seconds)


def test_a_client_that_once_sent_less_is_never_asked_for_more() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    answer(pacer, LEAST_CREDIT, 0.01)
    for _ in range(20):
        answer(pacer, LEAST_CREDIT, 0.01)
        assert pacer.credit(0, 1 << 30) == LEAST_CREDIT


@pytest.mark.parametrize(
    ("left", "credit"),
    [
        (FIRST_CHUNK, FIRST_CHUNK),
        (FIRST_CHUNK - 1, FIRST_CHUNK - 1),
        (int(MIN_PARTIAL * FIRST_CHUNK), int(MIN_PARTIAL * FIRST_CHUNK)),
        (int(MIN_PARTIAL * FIRST_CHUNK) - 1, 0),
        (0, 0),
        (-1, 0),
    ],
)
def test_most_of_a_chunk_is_asked_for_where_a_whole_one_has_no_room(left: int, credit: int) -> None:
    pacer = Pacer(MIN, MAX, 16, 16 * FIRST_CHUNK)
    assert pacer.credit(pacer.window - left, 1 << 30) == credit


def test_a_client_that_has_shown_nothing_gets_one_credit_above_what_the_originals_send() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    first = pacer.credit(0, 1 << 30)
    assert first == FIRST_WINDOW > LEAST_CREDIT
    assert pacer.credit(first, 1 << 30) == 0


def test_on_a_quiet_server_a_client_begins_in_full_run() -> None:
    pacer = Pacer(MIN, MAX, 16, 16 * FIRST_CHUNK)
    promised = 0
    while credit := pacer.credit(promised, 1 << 30):
        assert credit == FIRST_CHUNK
        promised += credit
    assert promised == 16 * FIRST_CHUNK


def test_a_head_start_is_never_exceeded_before_the_client_has_sent() -> None:
    pacer = Pacer(MIN, MAX, 16, 5_000_000)
    promised = 0
    while credit := pacer.credit(promised, 1 << 30):
        pacer.granted(credit, 0.0)
        promised += credit
    assert 4_000_000 < promised <= 5_000_000


def test_an_empty_chunk_that_answers_no_credit_changes_nothing() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    assert pacer.arrived(0, 1.0, 1.0) is None
    pacer.stored(0, 2.0)
    assert (pacer.chunk, pacer.credit(0, 1 << 30)) == (FIRST_WINDOW, FIRST_WINDOW)


def test_a_chunk_is_told_how_long_ago_it_was_asked_for() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    for asked in (1.0, 2.0):
        pacer.granted(MIN, asked)
    assert pacer.arrived(MIN, 1.5, 3.0) == 0.5
    assert pacer.arrived(MIN, 6.0, 7.0) == 4.0


@given(st.lists(st.integers(1, LEAST_CREDIT), min_size=1, max_size=30), st.floats(0.001, 100))
def test_a_client_with_short_chunks_may_always_go_back_to_the_originals(
    lengths: list[int], seconds: float
) -> None:
    pacer = Pacer(MIN, MAX, 16, 1 << 20)
    now = 0.0
    for length in lengths:
        credit = pacer.credit(0, 1 << 30)
        assert credit >= LEAST_CREDIT
        pacer.granted(credit, now)
        now += seconds
        pacer.arrived(length, now, now)
        pacer.stored(length, now)


def test_chunks_that_take_no_time_at_all_are_no_measure() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    pacer.granted(FIRST_WINDOW, 5.0)
    pacer.arrived(FIRST_WINDOW, 5.0, 5.0)
    pacer.stored(FIRST_WINDOW, 5.0)
    assert pacer.chunk == pacer.window == FIRST_WINDOW


Step = tuple[float, float, float, int]
"""How long a chunk takes, how much of its credit it fills, how soon it began; the room there is."""


STEPS = st.lists(
    st.tuples(
        st.just(0.0) | spread(1e-6, 1e4),
        st.sampled_from([1.0, 1.0, 1.0, 0.0]) | st.floats(0, 1),
        st.floats(0, 1),
        st.integers(0, 1 << 31),
    ),
    min_size=1,
    max_size=60,
)


@given(
    bounds=st.tuples(spread(1024, 1 << 30), spread(1024, 1 << 30)).map(sorted),
    max_in_flight=st.integers(1, 1024),
    head_start=st.just(0) | spread(1, 1 << 40).map(int),
    steps=STEPS,
)
def test_no_bound_is_ever_broken(
    bounds: list[float], max_in_flight: int, head_start: int, steps: list[Step]
) -> None:
    low, high = map(int, bounds)
    pacer = Pacer(low, high, max_in_flight, head_start)
    now, promised, out = 0.0, 0, deque[tuple[int, float]]()
    for seconds, filled, soon, room in steps:
        while len(out) < max_in_flight:
            left = max(0, room - promised)
            credit = pacer.credit(promised, left)
            assert bool(credit) or bool(out) or not left
            if not credit:
                break
            assert min(low, left) <= credit <= min(high, left)
            assert not out or promised + credit <= pacer.window
            pacer.granted(credit, now)
            out.append((credit, now))
            promised += credit
        now += seconds
        if out:
            credit, since = out.popleft()
            promised -= credit
            length = int(filled * credit)
            pacer.arrived(length, since + soon * (now - since), now)
            pacer.stored(length, now)
        assert low <= pacer.chunk <= high
        assert pacer.chunk <= pacer.window
        assert math.isfinite(pacer.window)


@given(
    room=st.integers(2 * FIRST_CHUNK, 1 << 30),
    head_start=st.integers(0, 1 << 30),
    own=st.integers(0, 1 << 30),
    obeys=st.booleans(),
)
def test_where_there_is_room_for_two_credits_neither_takes_it_all(
    room: int, head_start: int, own: int, *, obeys: bool
) -> None:
    pacer = Pacer(MIN, MAX, 16, head_start)
    if obeys:
        first = pacer.credit(0, room)
        pacer.granted(first, 0.0)
        pacer.arrived(min(first, own), 0.5, 1.0)
        pacer.stored(min(first, own), 1.0)
    first = pacer.credit(0, room)
    assert MIN <= first <= room // 2


@pytest.mark.parametrize(
    ("chunk_min", "chunk_max", "memory", "least"),
    [
        (MIN, MAX, 1 << 28, 250_000),
        (300_000, MAX, 1 << 28, 300_000),
        (MIN, MIN, 1 << 28, MIN),
        (MIN, MAX, 100_000, 100_000),
    ],
)
def test_the_least_credit_fits_a_client_that_knows_only_the_originals_chunk(
    chunk_min: int, chunk_max: int, memory: int, least: int
) -> None:
    assert least_credit(chunk_min, chunk_max, memory) == least
