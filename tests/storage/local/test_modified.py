"""The modification time of a file: durable, part of its identity, and not always supported."""

import os
from pathlib import Path

import pytest
from helpers.local_store import open_local, opened

from galileod.storage.finished import Standing
from galileod.storage.local import LocalStore
from galileod.storage.whole import WholeFile

THEN = 1_234_567_890_123_000_000
MILLISECOND = 1_000_000


async def put(store: LocalStore, name: str, way: str) -> str:
    """Store a file that is older; returns its identity."""
    if way == "whole":
        file = WholeFile(name, name, [b"content"], (), "rename", "full", THEN)
        (written,) = await store.write_whole([file])
        await store.publish_whole([written])  # type: ignore[list-item]
        return written.identity  # type: ignore[union-attr]
    async with await store.create(name, name) as sink:
        await sink.write([b"content"])
        sink.modified = THEN
        if way == "prepared":
            await sink.prepare()
        identity = sink.identity
        await sink.commit()
        return identity


@pytest.mark.parametrize("way", ["whole", "prepared", "committed"])
async def test_the_time_is_set_before_the_fsync_and_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    calls = list[str]()

    def telling(function: str) -> None:
        real = getattr(os, function)

        def call(fd: int, **options: object) -> None:
            inode = os.fstat(fd).st_ino
            files = {path.stat().st_ino: path for path in spooled.iterdir()}
            if inode in files:
                calls.append(function)
            real(fd, **options)

        monkeypatch.setattr(os, function, call)

    with opened(tmp_path / "files") as store:
        spooled = tmp_path / "files/.galileod/spool"
        telling("utime")
        telling("fsync")
        await put(store, "a", way)
    assert calls == ["utime", "fsync"]
    assert (tmp_path / "files/a").stat().st_mtime_ns == THEN


@pytest.mark.parametrize("way", ["whole", "prepared"])
async def test_files_that_only_their_time_tells_apart_have_different_ones(
    tmp_path: Path, way: str
) -> None:
    with opened(tmp_path / "files") as store:
        store._spool.inode_kept = False  # as on FUSE filesystems that number files anew
        identities = {await put(store, name, way): name for name in "abcdef"}
        assert len(identities) == 6
        assert store.scan(identities).names == identities
        for standing in await store.look("abcdef"):
            assert isinstance(standing, Standing)
            assert THEN <= standing.modified_ns < THEN + MILLISECOND


@pytest.mark.parametrize("way", ["whole", "prepared", "committed"])
async def test_a_file_is_stored_where_times_cannot_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    with opened(tmp_path / "files") as store:
        await put(store, "a", way)
        assert store.scan().sizes == {"a": 7}
    assert (tmp_path / "files/a").stat().st_mtime_ns > THEN


async def test_an_upload_that_is_continued_after_a_restart_has_the_time(tmp_path: Path) -> None:
    with opened(tmp_path / "files") as store:
        sink = await store.create("1", "june/a")
        await sink.write([b"con"])
        sink.modified = THEN
        await sink.prepare()  # its upload then fails for another reason
        await sink.suspend()
    store = open_local(tmp_path / "files", trusted={"1": 3})
    try:
        async with await store.reopen("1", "june/a", "rename", "full") as sink:
            await sink.write([b"tent"])
            sink.modified = THEN
            await sink.prepare()
            identity = sink.identity
            await sink.commit()
        assert store.scan([identity]).names == {identity: "june/a"}
    finally:
        store.close()
    path = tmp_path / "files/june/a"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"content", THEN)
