"""Files are hashed in steps."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from galileod.client import hash_files
from galileod.client.hash_files import sha1_of_files


async def test_the_hashes_are_in_the_order_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_files, "READ_SIZE", 10)
    monkeypatch.setattr(hash_files, "STEP", 25)
    paths = [tmp_path / str(size) for size in (0, 1, 9, 10, 11, 100, 0, 250, 3)]
    for path in paths:
        path.write_bytes(os.urandom(int(path.name)))
    hashes = (hashlib.sha1(path.read_bytes(), usedforsecurity=False) for path in paths)
    expected: list[str | None] = [one.hexdigest() for one in hashes]
    os.mkfifo(tmp_path / "fifo")
    odd = [str(tmp_path), str(tmp_path / "fifo"), str(tmp_path / "none")]
    found = await sha1_of_files([*map(str, paths), *odd, str(paths[5])])
    assert found == [*expected, None, None, None, expected[5]]
    assert await sha1_of_files([]) == []


async def test_it_can_be_cancelled_within_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 40)  # half an hour
    scope, step = trio.CancelScope(), hash_files._advance

    def advance(steps: Iterator[int]) -> bool:
        assert step(steps)
        assert str(path) in opened()
        trio.from_thread.run_sync(scope.cancel)
        return True

    def opened() -> list[str]:
        entries = (f"/proc/self/fd/{entry}" for entry in os.listdir("/proc/self/fd"))
        return [os.path.realpath(entry) for entry in entries]

    monkeypatch.setattr(hash_files, "_advance", advance)
    with scope:
        await sha1_of_files([str(path)])
    assert scope.cancelled_caught
    assert str(path) not in opened()
