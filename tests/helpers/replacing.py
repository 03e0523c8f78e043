"""Documented configurations, with a test in the place of the outside world."""

from collections.abc import Mapping


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """`text` with each of these, which must be there once, in another's place."""
    for old, new in replacements.items():
        assert text.count(old) == 1, f"{old!r} is not there once"
        text = text.replace(old, new)
    return text
