"""Which name an upload to object storage may claim, whatever the engine."""

from collections.abc import Callable

from galileod.policy.names import numbered
from galileod.policy.publication import OnConflict

from .objects import MOST_NUMBER, NameTakenError

Asked = Callable[[str], bool]
"""Asks the ledger about a name."""


def free_name(path: str, on_conflict: OnConflict, is_taken: Asked, is_claimed_alone: Asked) -> str:
    """The name that an upload may claim for `path`. Raises NameTakenError.

    `is_taken`: a file has the name, or another upload has claimed it. `is_claimed_alone`: another
    upload has claimed it that does not replace.
    """
    if on_conflict == "replace":
        # Else what replaces could be confirmed, and then be overwritten by the other upload.
        if is_claimed_alone(path):
            raise NameTakenError(f"another upload has claimed the name {path}")
        return path
    if not is_taken(path):
        return path
    if on_conflict == "reject":
        raise NameTakenError(f"the name {path} is taken")
    folder, slash, name = path.rpartition("/")
    number = free_number(lambda number: is_taken(f"{folder}{slash}{numbered(name, number)}"))
    if number is None:
        raise NameTakenError(f"the name {path} is taken, with each number")
    return f"{folder}{slash}{numbered(name, number)}"


def free_number(is_taken: Callable[[int], bool]) -> int | None:
    """A number that is free, and is 1 or comes after one that is taken.

    With thousands of equal names, to try one number after the other would take seconds.
    """
    low, high = 0, 1
    while is_taken(high):
        if high == MOST_NUMBER:
            return None
        low, high = high, min(2 * high, MOST_NUMBER)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_taken(middle) else (low, middle)
    return high
