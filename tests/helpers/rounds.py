"""How much a test of chance does: a little in the suite, much with `make soak`."""

import os
import sys
from typing import Final, TypeVar

T = TypeVar("T", int, float)

SOAK: Final = os.environ.get("SOAK") == "1"


def rounds(few: T, many: T) -> T:
    """`few` in the suite, `many` in a soak."""
    return many if SOAK else few


def seeds(few: int, many: int) -> range:
    """Seeds of so many rounds. SEED is the first one, and ROUNDS the number in their place."""
    first, number = os.environ.get("SEED", "0"), os.environ.get("ROUNDS", rounds(few, many))
    return range(int(first), int(first) + int(number))


def report(text: str) -> None:
    """In a soak, print a figure, past pytest."""
    if SOAK and sys.__stderr__ is not None:
        sys.__stderr__.write(f"{text}\n")
