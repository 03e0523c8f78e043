"""The identity of a node, which its directory has."""

import os
import stat
from pathlib import Path

import pytest

from galileod.daemon.identity import read_identity
from galileod.storage.errors import StorageError


def test_it_is_made_once(tmp_path: Path) -> None:
    path = str(tmp_path / "node")
    identity = read_identity(path)
    assert read_identity(path) == identity
    assert read_identity(str(tmp_path / "other")) != identity
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["node", "other"]


@pytest.mark.parametrize("content", [b"", b"0" * 32, b"0" * 33 + b"\n", b"X" * 32 + b"\n"])
def test_a_damaged_one_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged; remove it"):
        read_identity(str(path))


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "node").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        read_identity(str(tmp_path / "node"))
    assert not (tmp_path / "elsewhere").exists()
