"""Files that are suspended, and continued in the same process or after a restart."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from filesystems.kinds import Mounted
from helpers.clients import some_bytes
from helpers.local_store import open_local, spool
from helpers.store_kinds import opened_anew, sha1

from galileod.policy.publication import OnConflict
from galileod.storage.errors import MissingError
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore

CONTENT: Final = some_bytes(1_500_000)
HALF: Final = 700_000


@pytest.fixture
def directory(mounted: Mounted) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=mounted.root))
    yield path
    # The filesystem is small, and all tests of its kind share it.
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def stores() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Restart = Callable[[LocalStore], LocalStore]


@pytest.fixture
def restart(stores: ExitStack) -> Restart:
    def make(store: LocalStore) -> LocalStore:
        fresh = opened_anew(store)
        stores.callback(fresh.close)
        return fresh

    return make


def check_found(store: LocalStore, identity: str) -> None:
    """By a time in whole seconds alone, as sshfs has them, no file is found."""
    names = {} if re.fullmatch("-[0-9]+0{9}", identity) else {identity: "anna/a.bin"}
    assert store.scan([identity]).names == names


async def suspended(store: LocalStore) -> None:
    async with await store.create("1", "anna/a.bin") as sink:
        await sink.write([CONTENT[:HALF]])
        assert await sink.suspend() == HALF


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
@pytest.mark.parametrize("way", ["goes on", "restarts", "after a power failure"])
async def test_a_file_goes_on_and_is_found_once_it_is_published(
    directory: Path, stores: ExitStack, restart: Restart, way: str, on_conflict: OnConflict
) -> None:
    store = open_local(directory, on_conflict)
    stores.callback(store.close)
    await suspended(store)
    offset = HALF
    if way != "goes on":
        offset = HALF if way == "restarts" else HALF - 1000
        store = restart(store)
        assert store.recover({"1": offset}) == {"1": Recovered(offset)}
    async with await store.reopen("1", "anna/a.bin", on_conflict, "full") as sink:
        assert sink.offset == offset
        await sink.write([CONTENT[offset:]])
        assert await sink.digest("sha1") == sha1(CONTENT)
        await sink.prepare()
        identity = sink.identity
        await sink.commit()
    assert (directory / "anna/a.bin").read_bytes() == CONTENT
    assert spool(directory) == []
    check_found(store, identity)
    with pytest.raises(MissingError):
        await store.reopen("1", "anna/a.bin", on_conflict, "full")


async def test_a_complete_file_that_was_prepared_goes_on(
    directory: Path, stores: ExitStack, restart: Restart
) -> None:
    store = open_local(directory)
    stores.callback(store.close)
    async with await store.create("1", "anna/a.bin") as sink:
        await sink.write([CONTENT])
        await sink.prepare()
        await sink.suspend()
    store = restart(store)
    assert store.recover({"1": None}) == {"1": Recovered(len(CONTENT))}
    async with await store.reopen("1", "anna/a.bin", "rename", "full") as sink:
        await sink.prepare()
        identity = sink.identity
        await sink.commit()
    assert (directory / "anna/a.bin").read_bytes() == CONTENT
    check_found(store, identity)


async def test_a_file_that_was_linked_before_a_kill_is_not_continued(
    directory: Path, stores: ExitStack, restart: Restart
) -> None:
    store = open_local(directory)
    stores.callback(store.close)
    if store._spool.renames:
        pytest.skip("files are renamed here, and leave the spool in the same step")
    sink = await store.create("1", "a.bin")
    await sink.write([CONTENT])
    await sink.prepare()
    identity = sink.identity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store._spool, "remove", lambda _: None)
        await sink.commit()
    assert len(spool(directory)) == 1
    store = restart(store)
    found = store.recover({"1": HALF})
    assert (directory / "a.bin").read_bytes() == CONTENT
    assert [one.identity for one in found.values()] == [identity] * store._spool.counts_links
    with pytest.raises(MissingError):
        await store.reopen("1", "a.bin", "rename", "full")
    await store.drop("1")
    assert spool(directory) == []
    assert (directory / "a.bin").read_bytes() == CONTENT
