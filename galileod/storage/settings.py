"""`[storage]`: where finished files are stored, and how durably."""

from collections.abc import Iterator

from attrs import frozen

from galileod.policy.layout import check_layout
from galileod.policy.publication import Durability, OnConflict
from galileod.units import Size, Violation


@frozen
class Storage:
    """`[storage]`: where finished files are stored, and how durably."""

    directory: str = "uploads"
    layout: str = "{name}"
    on_conflict: OnConflict = "rename"
    min_free: Size = Size(1 << 30)
    durability: Durability = "full"


def violations(storage: Storage) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    try:
        check_layout(storage.layout)
    except ValueError as error:
        yield "storage.layout", storage.layout, str(error)  # it says what is expected
    if not storage.directory or "\0" in storage.directory:
        yield "storage.directory", storage.directory, "the path of a directory"
