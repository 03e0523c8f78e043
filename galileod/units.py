"""Sizes and durations with units: `"64KiB"`, `"5MB"`, `"500ms"`, `"2h"`."""

import re
from fractions import Fraction
from typing import Final, NewType

Size = NewType("Size", int)
"""Bytes."""

Duration = NewType("Duration", float)
"""Seconds."""

Violation = tuple[str, object, str]
"""A key of the configuration, its invalid value, and what was expected instead."""

MAX_SECONDS: Final = 10**9
"""Durations are shorter than this: about 31 years."""

SIZE_EXPECTED: Final = 'a size such as 1048576, "64KiB", "10GiB" or "5MB"'
DURATION_EXPECTED: Final = 'a duration such as 60, "500ms", "60s", "2h" or "30d"'

_HUMAN_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP: Final = 1024
_ROUNDED_UP: Final = 1023.95
"""From this number on the next unit is used: with one decimal it would be shown as 1024.0."""

_SIZE_UNITS: Final = {
    unit: Fraction(length)
    for unit, length in {
        "TiB": 1 << 40, "TB": 10**12, "GiB": 1 << 30, "GB": 10**9, "MiB": 1 << 20, "MB": 10**6,
        "KiB": 1 << 10, "kB": 10**3, "KB": 10**3, "B": 1,
    }.items()
}  # fmt: skip
"""The largest ones first."""
_DAY: Final = 86400
_DURATION_UNITS: Final = {
    "d": Fraction(_DAY), "h": Fraction(3600), "min": Fraction(60), "m": Fraction(60),
    "s": Fraction(1), "ms": Fraction(1, 1000),
}  # fmt: skip
_QUANTITY: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([A-Za-z]*)", re.ASCII)


def parse_size(value: object) -> Size:
    """Parse a size in bytes. Raises ValueError; its message says what is expected."""
    if isinstance(value, str):
        value = _quantity(value, _SIZE_UNITS, "B", SIZE_EXPECTED)
        # "1.5GiB" is an integer number of bytes, "0.1B" is not.
        value = int(value) if value == int(value) else value
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(SIZE_EXPECTED)
    return Size(value)


def parse_duration(value: object) -> Duration:
    """Parse a duration in seconds. Raises ValueError; its message says what is expected."""
    if isinstance(value, str):
        value = _quantity(value, _DURATION_UNITS, "s", DURATION_EXPECTED)
    if (
        not isinstance(value, int | float | Fraction)
        or isinstance(value, bool)
        or not 0 <= value < MAX_SECONDS
    ):
        raise ValueError(DURATION_EXPECTED)
    return Duration(float(value))


def format_size(size: Size) -> int | str:
    """Format a size with the largest exact unit, such as `"64KiB"`, or as the number of bytes."""
    for unit, length in _SIZE_UNITS.items():
        if size and length > 1 and size % length == 0:
            return f"{size // length}{unit}"
    return int(size)


def human_size(count: float) -> str:
    """Bytes for people, rounded: `999 B`, `4.0 KiB`."""
    if count < _STEP:
        return f"{int(count)} B"
    power = 0
    while count >= _ROUNDED_UP and power < len(_HUMAN_UNITS):
        count /= _STEP
        power += 1
    return f"{count:.1f} {_HUMAN_UNITS[power - 1]}"


def format_duration(duration: Duration) -> float | str:
    """Format a duration: as `"30d"` or `"90s"` if it is integral, else as a number of seconds."""
    if duration and duration % _DAY == 0:
        return f"{int(duration // _DAY)}d"
    return f"{int(duration)}s" if float(duration).is_integer() else float(duration)


def _quantity(text: str, units: dict[str, Fraction], bare: str, expected: str) -> Fraction:
    match = _QUANTITY.fullmatch(text.strip())
    if not match or (match[2] or bare) not in units:
        raise ValueError(expected)
    # A Fraction is exact: "1.001kB" is 1001 bytes, but not in binary floating point.
    return Fraction(match[1]) * units[match[2] or bare]
