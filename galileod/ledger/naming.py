"""Which name an upload to object storage may claim, whatever the engine."""

from collections.abc import Callable

from attrs import frozen

from galileod.policy.names import numbered
from galileod.policy.publication import OnConflict

from .objects import MOST_NUMBER, NameTakenError, UnsettledError

Asked = Callable[[str], bool]
"""Asks the ledger about a name."""


@frozen
class Holders:
    """Who has a name, for an upload that wants it.

    `stored`: a file, or what the store has found; `taken`: that, or another upload; `alone`:
    another upload that does not replace; `unsettled`: one that is in doubt.
    """

    stored: Asked
    taken: Asked
    alone: Asked
    unsettled: Asked


def free_name(path: str, on_conflict: OnConflict, has: Holders) -> str:
    """The name that an upload may claim for `path`. Raises NameTakenError."""
    if on_conflict == "replace":
        # Else what replaces could be confirmed, and then be overwritten by the other upload.
        if has.unsettled(path):
            raise unsettled(path)
        if has.alone(path):
            raise _claimed(path)
        return path
    if not has.taken(path):
        return path
    if on_conflict == "reject":
        if has.stored(path):
            raise stored(path)
        raise unsettled(path) if has.unsettled(path) else _claimed(path)
    folder, slash, name = path.rpartition("/")
    number = free_number(lambda number: has.taken(f"{folder}{slash}{numbered(name, number)}"))
    if number is None:
        raise NameTakenError(f"files named {path}, and with each number, exist already")
    return f"{folder}{slash}{numbered(name, number)}"


def stored(name: str) -> NameTakenError:
    """The error if a file has the name."""
    return NameTakenError(f"a file named {name} exists already")


def unsettled(name: str) -> UnsettledError:
    """The error if an upload in doubt has the name."""
    return UnsettledError(f"an earlier upload of {name} is not settled yet")


def _claimed(name: str) -> NameTakenError:
    return NameTakenError(f"an upload that has not ended has the name {name}")


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
