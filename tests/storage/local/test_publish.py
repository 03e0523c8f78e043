"""Publication: names that exist, and files that are found again."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from helpers.disk import FaultyOs, nth, put_into_place
from helpers.local_store import DATA, open_local, put, spool, visible
from structlog.testing import capture_logs

from galileod.policy.publication import OnConflict
from galileod.storage.errors import ConflictError, StorageError
from galileod.storage.local import LocalStore, publish

pytestmark = pytest.mark.timeout(20)

OpenStore = Callable[..., LocalStore]


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo"])
@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_what_stands_under_the_name_is_never_followed_nor_written(
    open_store: OpenStore, directory: Path, tmp_path: Path, kind: str, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    target, path = tmp_path / "target", directory / "a.bin"
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            target.write_bytes(b"theirs")
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target)
        case "fifo":
            os.mkfifo(path)
    before = path.lstat()
    if on_conflict == "reject" or (on_conflict == "replace" and kind == "directory"):
        with pytest.raises(ConflictError, match=r"a\.bin"):
            await put(store)
        assert path.lstat().st_ino == before.st_ino
    elif on_conflict == "rename":
        assert await put(store) == "a (1).bin"
        assert (directory / "a (1).bin").read_bytes() == DATA
        assert path.lstat().st_ino == before.st_ino
    else:
        assert await put(store) == "a.bin"
        assert stat.S_ISREG(path.lstat().st_mode)
        assert path.read_bytes() == DATA
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_bytes() == b"theirs"
    assert spool(directory) == []


async def test_numbers_for_a_taken_name_come_to_an_end(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MAX_NUMBER", 2)
    store = open_store()
    assert [await put(store) for _ in range(3)] == ["a.bin", "a (1).bin", "a (2).bin"]
    with pytest.raises(ConflictError, match=r"a\.bin"):
        await put(store)
    assert len(visible(directory)) == 3
    assert spool(directory) == []


async def test_a_file_that_cannot_be_withdrawn_is_told_in_the_log(
    open_store: OpenStore, directory: Path
) -> None:
    class Worse(FaultyOs):
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return (
                FaultyOs("unlink", nth(1), errno.EIO).unlink
                if name == "unlink"
                else (super().__getattr__(name))
            )

    store = open_store()
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        put_into_place(patch, Worse("fsync", nth(2), errno.EIO))
        with pytest.raises(StorageError, match="name durable"):
            await put(store)
    assert {line["path"] for line in logs if line["event"] == "storage.leftover"} == {"a.bin"}
    assert visible(directory) == {"a.bin": DATA}


async def test_an_upload_that_is_cancelled_while_it_commits_is_whole_or_not_there(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    with trio.CancelScope() as scope:
        async with await store.create("1", "a.bin") as sink:
            await sink.write([DATA])
            scope.cancel()
            await sink.commit()
    assert visible(directory) in ({}, {"a.bin": DATA})
    assert spool(directory) == []


def test_a_name_that_is_no_utf_8_is_listed_with_escapes(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb") as file:
        file.write(b"data")
    store = open_local(tmp_path)
    assert store.scan().sizes == {"\\xff.txt": 4}
    store.close()


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_file_is_found_by_its_number_under_the_name_that_it_has_by_now(
    directory: Path, on_conflict: OnConflict
) -> None:
    store = open_local(directory, on_conflict)
    async with await store.create("1", "a.bin") as sink, await store.create("2", "b.bin") as other:
        sink_identity = sink.identity
        identities = {sink_identity, other.identity}
        assert store.scan(identities).names == {}
        await sink.commit()
        assert store.scan(identities).names == {sink_identity: "a.bin"}
        (directory / "a.bin").rename(directory / "moved.bin")
        assert list(store.scan(identities).names.values()) == ["moved.bin"]
    store.close()
