from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.units import (
    DURATION_EXPECTED,
    SIZE_EXPECTED,
    Duration,
    Size,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

SIZES = st.integers(0, (1 << 63) - 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (1048576, 1 << 20),
        ((1 << 63) - 1, (1 << 63) - 1),
        ("0", 0),
        ("1048576", 1 << 20),
        ("7B", 7),
        ("64KiB", 64 << 10),
        ("64 KiB", 64 << 10),
        (" 64KiB ", 64 << 10),
        ("8MiB", 8 << 20),
        ("10GiB", 10 << 30),
        ("2TiB", 2 << 40),
        ("1.5GiB", 3 << 29),
        ("5MB", 5_000_000),
        ("5GB", 5 * 10**9),
        ("5TB", 5 * 10**12),
        ("5kB", 5000),
        ("5KB", 5000),
        ("1.0B", 1),
        ("1.001kB", 1001),
        ("2.003MB", 2_003_000),
        ("8388607TiB", 8388607 << 40),
    ],
)
def test_a_size_is_read(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@given(st.integers(0, 10**8))
def test_a_size_with_a_decimal_fraction_is_read_exactly(thousandths: int) -> None:
    text = f"{Decimal(thousandths) / 1000:.3f}"
    assert parse_size(text + "kB") == thousandths
    assert parse_size(text + "MB") == thousandths * 1000


@pytest.mark.parametrize(
    "value",
    [
        -1,
        1 << 63,
        "9223372036854775808",
        "8388608TiB",
        "9" * 19,
        "9" * 5000,
        1.0,
        1.5,
        True,
        None,
        [],
        {},
        b"1",
        "",
        " ",
        "KiB",
        "-1",
        "+1",
        "1e3",
        "0x10",
        "1_000",
        "1,5GiB",
        ".5GiB",
        "1.GiB",
        "0.1B",
        "1.0001kB",
        "5mb",
        "5kib",
        "5 bytes",
        "5  MB",
        "5MB5",
        "\u0665MB",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_size_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"^a size such as") as caught:
        parse_size(value)
    assert str(caught.value) == SIZE_EXPECTED


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        (0, 0.0),
        (60, 60.0),
        (1.5, 1.5),
        ("60", 60.0),
        ("60s", 60.0),
        ("0.5s", 0.5),
        ("500ms", 0.5),
        ("9ms", 0.009),
        ("1.5min", 90.0),
        ("3m", 180.0),
        ("2h", 7200.0),
        ("2 h", 7200.0),
        ("1d", 86400.0),
    ],
)
def test_a_duration_is_read(text: object, duration: float) -> None:
    assert parse_duration(text) == pytest.approx(duration, rel=1e-12)
    assert type(parse_duration(text)) is float


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        10**9,
        10**400,
        "1000000000s",
        "99999d",
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        None,
        [],
        {},
        "",
        "s",
        "-1s",
        "1e3s",
        "60S",
        "1 hour",
        "1h30m",
        "1:30",
        "5MB",
        "9" * 5000,
        "\u0665s",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_duration_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"^a duration such as") as caught:
        parse_duration(value)
    assert str(caught.value) == DURATION_EXPECTED


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, 0),
        (1, 1),
        (1023, 1023),
        (1024, "1KiB"),
        (64 << 10, "64KiB"),
        (1 << 20, "1MiB"),
        ((1 << 20) + 1024, "1025KiB"),
        (10 << 30, "10GiB"),
        (3 << 40, "3TiB"),
        (1000, "1kB"),
        (1001, 1001),
        (250_000, "250kB"),
        (1_024_000, "1000KiB"),
        (1_500_000_000, "1500MB"),
        (100 * 10**12, "100TB"),
    ],
)
def test_a_size_is_written_with_the_largest_exact_unit(size: int, text: object) -> None:
    assert format_size(Size(size)) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (60.0, "60s"),
        (0.0, "0s"),
        (0.5, 0.5),
        (1e-9, 1e-9),
        (7200.0, "7200s"),
        (86400.0, "1d"),
        (86401.0, "86401s"),
        (86400.5, 86400.5),
        (2592000.0, "30d"),
    ],
)
def test_a_duration_is_written_in_days_or_seconds(duration: float, text: object) -> None:
    assert format_duration(Duration(duration)) == text


@given(SIZES | st.builds(lambda n, shift: n << shift, st.integers(0, 999), st.integers(0, 40)))
def test_a_size_reads_back_as_written(size: int) -> None:
    assert parse_size(format_size(Size(size))) == size


@given(st.floats(0, 1e9, exclude_max=True) | st.integers(0, 10**9 - 1).map(float))
def test_a_duration_reads_back_as_written(duration: float) -> None:
    assert parse_duration(format_duration(Duration(duration))) == duration


VALUES = st.text() | st.integers() | st.floats() | st.from_regex(r"[0-9.]{1,20} ?[A-Za-z]{0,3}")


@given(VALUES)
def test_any_value_is_a_size_within_bounds_or_refused(value: object) -> None:
    try:
        assert 0 <= parse_size(value) < 1 << 63
    except ValueError as error:
        assert str(error) == SIZE_EXPECTED  # noqa: PT017  both ends are right


@given(VALUES)
def test_any_value_is_a_duration_within_bounds_or_refused(value: object) -> None:
    try:
        assert 0 <= parse_duration(value) < 1e9
    except ValueError as error:
        assert str(error) == DURATION_EXPECTED  # noqa: PT017
