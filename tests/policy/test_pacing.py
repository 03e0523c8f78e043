"""How much a client is asked for at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.pacing import FIRST_WINDOW, FIXED_CHUNK, SlowStart, least_credit

MIN, MAX = 64 * 1024, 8 * 1024 * 1024


def test_a_client_that_has_shown_nothing_gets_one_credit_above_what_the_originals_send() -> None:
    pace = SlowStart(MIN, MAX, 16, 0)
    assert (pace.chunk, pace.in_flight) == (FIRST_WINDOW, 1)
    assert pace.chunk > 250_000


def test_the_window_doubles_with_every_window_that_is_stored() -> None:
    pace = SlowStart(MIN, MAX, 16, 0)
    for _ in range(3):
        before = pace.chunk * pace.in_flight
        pace.stored(before)
        assert pace.chunk * pace.in_flight == 2 * before


def test_on_a_quiet_server_a_client_begins_in_full_run() -> None:
    pace = SlowStart(MIN, MAX, 16, 16 * FIXED_CHUNK)
    assert (pace.chunk, pace.in_flight) == (FIXED_CHUNK, 16)


def test_the_window_ends_at_the_chunks_that_may_be_in_flight() -> None:
    pace = SlowStart(MIN, MAX, 16, 0)
    pace.stored(10**9)
    assert (pace.chunk, pace.in_flight) == (FIXED_CHUNK, 16)


@given(
    bounds=st.tuples(st.integers(1024, 1 << 30), st.integers(1024, 1 << 30)).map(sorted),
    max_in_flight=st.integers(1, 1024),
    head_start=st.integers(0, 1 << 40),
    stored=st.lists(st.integers(1, 1 << 24), max_size=20),
)
def test_no_bound_is_ever_broken(
    bounds: list[int], max_in_flight: int, head_start: int, stored: list[int]
) -> None:
    low, high = bounds
    pace = SlowStart(low, high, max_in_flight, head_start)
    for length in [0, *stored]:
        pace.stored(length)
        assert low <= pace.chunk <= high
        assert 1 <= pace.in_flight <= max_in_flight


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
