import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.pacing import FIXED_CHUNK, Pace, fixed_pace

ORIGINAL_CHUNK = 250_000
"""What clients send that know no other size."""


@pytest.mark.parametrize(
    ("chunk_min", "chunk_max", "chunk"),
    [
        (1, FIXED_CHUNK * 8, FIXED_CHUNK),
        (FIXED_CHUNK * 2, FIXED_CHUNK * 8, FIXED_CHUNK * 2),
        (1024, 4096, 4096),
        (5, 5, 5),
    ],
)
def test_the_chunk_is_the_fixed_one_kept_within_its_bounds(
    chunk_min: int, chunk_max: int, chunk: int
) -> None:
    assert fixed_pace(chunk_min, chunk_max, 16) == Pace(chunk, 16)


@given(st.integers(1, 1 << 30), st.integers(0, 1 << 30), st.integers(1, 1024))
def test_the_pace_keeps_every_bound(chunk_min: int, more: int, in_flight: int) -> None:
    pace = fixed_pace(chunk_min, chunk_min + more, in_flight)
    assert chunk_min <= pace.chunk <= chunk_min + more
    assert pace.in_flight == in_flight


def test_the_fixed_chunk_serves_a_client_with_the_original_chunk_size() -> None:
    assert FIXED_CHUNK >= ORIGINAL_CHUNK
