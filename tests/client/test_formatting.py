"""Numbers and foreign texts, fit to be printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.client.formatting import (
    format_duration,
    format_period,
    format_rate,
)
from galileod.units import human_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**3, "1.0 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert human_size(count) == text


@given(st.integers(0, 2**63 - 1))
def test_every_size_fits_its_column(count: int) -> None:
    assert len(human_size(count)) <= 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (59.6, "1:00"),
        (187, "3:07"), (3599.6, "1:00:00"), (7387, "2:03:07"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_rate_needs_time() -> None:
    assert format_rate(2048, 2) == "1.0 KiB/s"
    assert format_rate(2048, 0) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (86_400, "24 hours"),
        (172_800, "2 days"),
        (7 * 86_400, "7 days"),
    ],
)
def test_a_period_is_told_in_the_largest_unit_of_which_there_are_two(
    seconds: int, text: str
) -> None:
    assert format_period(seconds) == text
