"""Numbers and foreign texts, fit to be printed."""

import unicodedata
from typing import Final

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP: Final = 1024
_ROUNDED_UP: Final = 1023.95
"""What would be shown as 1024.0 belongs to the next unit."""
_MINUTE: Final = 60
_HOUR: Final = 3600
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS: Final = "\u200c\u200d"


def plain(text: str) -> str:
    """A foreign text in one line that does nothing to a terminal: what cannot be seen is escaped.

    The joiners stay, since emoji and some scripts need them.
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _UNSEEN and char not in _JOINERS
        else char
        for char in text
    )


def cut(text: str, length: int) -> str:
    """The beginning of a foreign text that may be of any length."""
    return text if len(text) <= length else text[:length] + "..."


def size(count: float) -> str:
    """Bytes for a person: `999 B`, `4.0 KiB`."""
    if count < _STEP:
        return f"{int(count)} B"
    power = 0
    while count >= _ROUNDED_UP and power < len(_UNITS):
        count /= _STEP
        power += 1
    return f"{count:.1f} {_UNITS[power - 1]}"


def rate(count: float, seconds: float) -> str:
    """Bytes a second."""
    return f"{size(count / seconds)}/s" if seconds > 0 else "-"


def duration(seconds: float) -> str:
    """Seconds for a person: `0.4 s`, `12 s`, `3:07`, `2:03:07`."""
    if seconds < 10:  # noqa: PLR2004  below that a tenth is worth showing
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE)
    if whole < _HOUR:
        return f"{minutes}:{rest:02}"
    return f"{minutes // _MINUTE}:{minutes % _MINUTE:02}:{rest:02}"


def count(size: int, what: str = "byte") -> str:
    """`1 byte`, `2 bytes`; of the regular kind."""
    return f"{size} {what}" if size == 1 else f"{size} {what}s"
