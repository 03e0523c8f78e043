"""`[storage]`: where finished files are stored, and how durably."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from galileod.policy.layout import check_layout
from galileod.policy.publication import Durability, OnConflict
from galileod.units import Duration, Size, Violation

Ask = Literal["users", "everybody", "nobody"]
"""Who may ask which files are stored already; `users` are those who have authenticated."""


@frozen
class Storage:
    """`[storage]`: where finished files are stored, how durably, and for how long.

    With `keep_modified`, a file gets the modification time that its client states. After
    `retention`, in seconds, it is removed; None: never.
    """

    directory: str = "uploads"
    layout: str = "{folder}/{name}"
    on_conflict: OnConflict = "rename"
    min_free: Size = Size(1 << 30)
    durability: Durability = "full"
    keep_modified: bool = True
    ask: Ask = "users"
    retention: Duration | None = None


def violations(storage: Storage) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    try:
        check_layout(storage.layout)
    except ValueError as error:
        yield "storage.layout", storage.layout, str(error)  # it says what is expected
    if not storage.directory or "\0" in storage.directory:
        yield "storage.directory", storage.directory, "the path of a directory"
    if storage.retention is not None and storage.retention <= 0:
        yield "storage.retention", storage.retention, "a duration of more than 0"
