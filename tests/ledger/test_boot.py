"""Which run of the machine it is."""

import sys
from pathlib import Path

import pytest

from galileod.ledger.boot import read_boot_id


def test_it_is_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "boot_id"
    path.write_text("4d5d-ab\n")
    assert read_boot_id(str(path)) == "4d5d-ab"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_each_start_counts_as_one_of_the_machine_if_it_cannot_be_read(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_bytes(content)
    first, second = read_boot_id(str(path)), read_boot_id(str(path))
    assert first
    assert first != second


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file")
def test_it_is_the_same_until_the_machine_restarts() -> None:
    assert read_boot_id() == read_boot_id()
