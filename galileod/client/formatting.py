"""Sizes, rates, durations and times, formatted for a terminal."""

from datetime import UTC, datetime
from typing import Final

from galileod.units import human_size

_MINUTE: Final = 60
_HOUR: Final = 3600


def truncated(text: str, length: int) -> str:
    """The first `length` characters, with "..." if there are more."""
    return text if len(text) <= length else text[:length] + "..."


def format_rate(count: float, seconds: float) -> str:
    """`count` bytes in `seconds`: `4.0 KiB/s`."""
    return f"{human_size(count / seconds)}/s" if seconds > 0 else "-"


def format_duration(seconds: float) -> str:
    """Seconds: `0.4 s`, `12 s`, `3:07`, `2:03:07`."""
    if seconds < 10:  # noqa: PLR2004  a tenth matters only below that
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE)
    if whole < _HOUR:
        return f"{minutes}:{rest:02}"
    return f"{minutes // _MINUTE}:{minutes % _MINUTE:02}:{rest:02}"


def format_time(seconds: float | None) -> str | None:
    """A time in seconds since the epoch, in UTC: `2026-01-02T03:04:05Z`; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_period(seconds: float) -> str:
    """Seconds, in the largest unit of which there are at least two: `24 hours`, `90 seconds`."""
    for unit, name in ((24 * _HOUR, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= 2 * unit:
            return plural(int(seconds / unit), name)
    return plural(int(seconds), "second")


def plural(number: int, noun: str = "byte") -> str:
    """`1 byte`, `2 bytes`; for nouns with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
