"""docs/s3.md has each reason that an answer of an object storage leads to."""

from pathlib import Path

from galileod.storage.errors import BadNameError, NoSpaceError, StorageBusyError
from galileod.storage.s3 import errors

FAULTS = {
    NoSpaceError: "no_space",
    StorageBusyError: "busy",
    BadNameError: "bad_name",
    errors.KeyTakenError: "conflict",
}
"""What a client hears; else `storage_failed`."""


def test_each_reason_is_in_the_table_with_what_the_client_hears() -> None:
    page = (Path(__file__).parents[2] / "docs/s3.md").read_text()
    for kind, sentence in errors._REASONS.values():
        assert f"| `{sentence}` | `{FAULTS.get(kind, 'storage_failed')}` |" in page
