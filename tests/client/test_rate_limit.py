"""Sending no faster than a rate."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from galileod.client.rate_limit import LARGEST_PART, SMALLEST_PART, SharedPace, TokenBucket


def test_a_burst_goes_out_at_once_and_the_rest_waits() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    assert bucket.take(5, 100.0) == 0
    assert bucket.take(5, 100.0) == pytest.approx(0.5)
    assert bucket.take(10, 100.0) == pytest.approx(1.5)


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    bucket.take(5, 0.0)
    assert bucket.take(5, 1000.0) == 0
    assert bucket.take(1, 1000.0) == pytest.approx(0.1)


@given(
    st.floats(1, 1e9),
    st.floats(0.01, 10),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**6)), min_size=1, max_size=50),
)
def test_over_any_time_no_more_goes_out_than_the_rate_and_a_burst(
    rate: float, seconds: float, takes: list[tuple[float, int]]
) -> None:
    burst, now = rate * seconds, 0.0
    bucket, gone = TokenBucket(rate, burst), list[tuple[float, int]]()
    for pause, length in takes:
        now += pause
        gone.append((now + bucket.take(length, now), length))
    for first, (begin, _) in enumerate(gone):
        total = 0
        for at, length in gone[first:]:
            total += length
            # What goes out last may be under way when the time ends; nothing is held back in vain.
            assert total <= (at - begin) * rate + burst + gone[first][1] + 1e-6 * total + 1
    assert gone == sorted(gone, key=lambda step: step[0])


@given(st.floats(1, 1e9), st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_who_asks_without_pause_gets_the_rate(rate: float, lengths: list[int]) -> None:
    bucket = TokenBucket(rate, burst=rate / 4)
    last = [bucket.take(length, 0.0) for length in lengths][-1]
    assert last == pytest.approx(max(0.0, sum(lengths) / rate - 0.25), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "part"),
    [(1, SMALLEST_PART), (8192, 2048), (10**6, 250_000), (10**9, LARGEST_PART)],
)
def test_parts_are_a_quarter_of_a_second_within_bounds(rate: int, part: int) -> None:
    assert SharedPace(rate).part == part


async def test_all_that_share_a_pace_share_its_rate(autojump_clock: MockClock) -> None:
    pace, began = SharedPace(100_000), trio.current_time()

    async def send() -> None:
        for _ in range(20):
            await pace.wait(pace.part)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(send)
    sent = 4 * 20 * pace.part
    assert trio.current_time() - began == pytest.approx(sent / 100_000 - 0.25)
