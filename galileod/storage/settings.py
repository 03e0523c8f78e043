"""`[storage]`: where finished files are stored, and how durably."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from galileod.policy.layout import check_layout
from galileod.units import Size, Violation

OnConflict = Literal["rename", "reject", "replace"]
Durability = Literal["full", "none"]


@frozen
class Storage:
    """`[storage]`: where finished files are stored, and how durably."""

    directory: str = "uploads"
    layout: str = "{name}"
    on_conflict: OnConflict = "rename"
    min_free: Size = Size(1 << 30)
    durability: Durability = "full"


def violations(storage: Storage) -> Iterator[Violation]:
    """Values that have the right type and break a rule."""
    try:
        check_layout(storage.layout)
    except ValueError as expected:
        yield "storage.layout", storage.layout, str(expected)
    if not storage.directory or "\0" in storage.directory:
        yield "storage.directory", storage.directory, "the path of a directory"
