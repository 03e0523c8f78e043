"""A restart: what is left in the spool after a crash of the process or of the machine."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.disk import descriptors, faulty, nth
from helpers.local_store import DATA, open_local, spool, visible
from structlog.testing import capture_logs

from galileod.policy.publication import OnConflict
from galileod.storage.errors import MissingError, StorageError
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore
from galileod.storage.local.sink import LocalSink
from galileod.storage.settings import Storage

pytestmark = pytest.mark.timeout(30)

OpenStore = Callable[..., LocalStore]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def spool_file(directory: Path, upload: str = "1") -> Path:
    return directory / ".galileod/spool" / upload


def not_recovered(directory: Path) -> LocalStore:
    return LocalStore.open(Storage(directory=str(directory)))


async def begun(directory: Path, *parts: bytes) -> int:
    """Write the parts, with a checkpoint after each but the last; the daemon is killed then."""
    store = open_local(directory)
    sink = await store.create("1", "a.bin")
    durable = 0
    for number, part in enumerate(parts, 1):
        await sink.write([part])
        if number < len(parts):
            durable = await sink.checkpoint()
    os.close(sink._file.fd)
    store.close()
    return durable


def cut(path: Path, durable: int) -> None:
    os.truncate(path, durable)


def cut_later(path: Path, durable: int) -> None:
    os.truncate(path, durable + 700)


def zero(path: Path, durable: int) -> None:
    size = path.stat().st_size
    os.truncate(path, durable)
    os.truncate(path, size)


def garble(path: Path, durable: int) -> None:
    with path.open("r+b") as file:
        file.seek(durable)
        file.write(b"x" * 500)


def leave(_path: Path, _durable: int) -> None:
    pass


@pytest.mark.parametrize("damage", [cut, cut_later, zero, garble, leave])
async def test_after_a_power_failure_a_file_goes_on_at_its_last_checkpoint(
    directory: Path, damage: Callable[[Path, int], None]
) -> None:
    durable = await begun(directory, DATA[:1000], DATA[1000:2000], DATA[2000:4000])
    assert durable == 2000
    damage(spool_file(directory), durable)
    store = not_recovered(directory)
    assert store.recover({"1": durable}) == {"1": Recovered(durable)}
    async with await store.reopen("1", "a.bin", "rename", "full") as sink:
        assert (sink.offset, sink.check) == (durable, None)
        await sink.write([DATA[durable:]])
        assert await sink.digest("sha1") == sha1(DATA)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}
    store.close()


async def test_what_was_cut_off_once_is_not_trusted_by_a_later_start(directory: Path) -> None:
    durable = await begun(directory, DATA[:1000], DATA[1000:2000])
    zero(spool_file(directory), durable)
    open_local(directory, trusted={"1": durable}).close()
    store = not_recovered(directory)
    assert store.recover({"1": None}) == {"1": Recovered(durable)}
    store.close()


async def test_after_a_kill_a_file_goes_on_with_all_that_stands_in_it(directory: Path) -> None:
    await begun(directory, DATA[:1000], DATA[1000:2000])
    store = open_local(directory, trusted={"1": None})
    async with await store.reopen("1", "a.bin", "rename", "full") as sink:
        assert sink.offset == 2000
        await sink.write([DATA[2000:]])
        assert await sink.digest("sha1") == sha1(DATA)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}
    store.close()


@pytest.mark.parametrize("trusted", [None, 0, 10])
async def test_a_file_with_a_second_name_is_found_by_its_identity_and_never_changed(
    directory: Path, trusted: int | None
) -> None:
    (directory / ".galileod/spool").mkdir(parents=True)
    spool_file(directory).write_bytes(DATA)
    (directory / "a.bin").hardlink_to(spool_file(directory))
    store = not_recovered(directory)
    before = (directory / "a.bin").stat()
    for _ in range(2):  # until it is dropped, another start finds it as well
        found = store.recover({"1": trusted})["1"]
        assert found.identity is not None
        assert store.scan([found.identity]).names == {found.identity: "a.bin"}
        assert spool(directory) == ["1"]
    with pytest.raises(MissingError):
        await store.reopen("1", "a.bin", "rename", "full")
    await store.drop("1")
    assert spool(directory) == []
    assert visible(directory) == {"a.bin": DATA}
    assert (directory / "a.bin").stat().st_mtime_ns == before.st_mtime_ns
    store.close()


@pytest.mark.parametrize("kind", ["link", "directory", "fifo", "others"])
def test_what_is_not_the_daemon_s_file_is_not_recovered(directory: Path, kind: str) -> None:
    path, target = spool_file(directory), directory / "target"
    path.parent.mkdir(parents=True)
    target.write_bytes(b"theirs")
    match kind:
        case "link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "others":
            if os.geteuid() != 0:
                pytest.skip("giving a file away needs root")
            path.write_bytes(DATA)
            os.chown(path, 12345, -1)
    store = not_recovered(directory)
    with capture_logs() as logs:
        assert store.recover({"1": 3}) == {}
    assert spool(directory) == (["1"] if kind == "directory" else [])
    event = "storage.leftover" if kind == "directory" else "spool.cleared"
    assert [line["event"] for line in logs] == [event]
    assert target.read_bytes() == b"theirs"
    store.close()


@pytest.mark.parametrize("function", ["listdir", "stat", "unlink", "open", "ftruncate"])
def test_a_recovery_that_fails_leaks_nothing_and_the_next_one_succeeds(
    directory: Path, function: str
) -> None:
    spool_file(directory).parent.mkdir(parents=True)
    for upload in ("1", "2"):
        spool_file(directory, upload).write_bytes(DATA)
    store = not_recovered(directory)
    before = descriptors()
    with faulty(function, nth(1)) as disk, pytest.raises(StorageError, match="cannot clear"):
        store.recover({"1": 1000})
    assert disk.reached
    assert descriptors() == before
    assert store.recover({"1": 1000}) == {"1": Recovered(1000)}
    assert spool(directory) == ["1"]
    store.close()


def test_ten_thousand_files_need_one_listing_and_one_stat_each(directory: Path) -> None:
    count = 10_000
    spool_file(directory).parent.mkdir(parents=True)
    uploads = [f"u{number}" for number in range(count)]
    for upload in uploads:
        spool_file(directory, upload).write_bytes(b"data")
    store = not_recovered(directory)
    for function, most in {"listdir": 1, "stat": count, "open": 0, "unlink": 0}.items():
        with faulty(function, range(0)) as disk:
            found = store.recover(dict.fromkeys(uploads))
        assert disk.calls == most
        assert found == dict.fromkeys(uploads, Recovered(4))
    store.close()


@pytest.mark.parametrize("on_conflict", ["rename", "reject"])
async def test_where_links_are_not_counted_a_published_file_is_no_kept_one(
    open_store: OpenStore, directory: Path, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    store._spool.renames = store._spool.counts_links = False
    seen: list[list[str]] = []
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        with watched_links(seen, directory):
            await sink.commit()
    assert seen == [["1-published"]]
    assert spool(directory) == []
    assert visible(directory) == {"a.bin": DATA}
    spool_file(directory, "2-published").write_bytes(DATA)
    assert store.recover({"2": None}) == {}
    assert spool(directory) == []


@pytest.mark.by_sink
async def test_where_links_are_not_counted_a_file_that_could_not_be_published_is_kept(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store("reject")
    store._spool.renames = store._spool.counts_links = False
    sink: LocalSink
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        (directory / "a.bin").write_bytes(b"first")
        with pytest.raises(StorageError, match="exists already"):
            await sink.commit()
        await sink.suspend()
    assert spool(directory) == ["1"]
    (directory / "a.bin").unlink()
    async with await store.reopen("1", "a.bin", "reject", "full") as sink:
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}
    assert spool(directory) == []


@contextmanager
def watched_links(seen: list[list[str]], directory: Path) -> Iterator[None]:
    """Note what is in the spool when a file is linked."""
    real = os.link

    def link(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        real(*args, **kwargs)
        seen.append(spool(directory))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", link)
        yield
