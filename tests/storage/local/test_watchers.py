"""What programs that watch a folder with inotify are told of an upload."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.local_store import put
from helpers.watching import CLOSE_WRITE, MOVED_TO, watching

from galileod.policy.publication import OnConflict
from galileod.storage.local import LocalStore, target

OpenStore = Callable[..., LocalStore]


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_file_is_moved_to_its_name(
    open_store: OpenStore, directory: Path, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    with watching(directory) as watch:
        await put(store)
        assert (MOVED_TO, "a.bin") in watch.events()
        if on_conflict == "rename":
            await put(store)
            events = watch.events()
            assert (MOVED_TO, "a (1).bin") in events
            assert {name for _, name in events} == {"a (1).bin"}
            # A program that waits for either event must not see one file twice.
            assert not [mask for mask, _ in events if mask & CLOSE_WRITE]


async def test_where_files_are_linked_watchers_see_that_they_are_closed(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    store._spool.renames = False
    with watching(directory) as watch:
        await put(store)
        assert watch.events()[-1] == (CLOSE_WRITE, "a.bin")


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
async def test_of_a_file_without_a_name_watchers_see_nothing_but_the_end(
    open_store: OpenStore,
    directory: Path,
    on_conflict: OnConflict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(target, "same_filesystem", lambda *_: False)
    store = open_store(on_conflict)
    with watching(directory) as watch:
        async with await store.create("1", "a.bin") as file:
            await file.write([b"data"])
            await file.prepare()
            assert watch.events() == []
            await file.commit()
        end = CLOSE_WRITE if on_conflict == "rename" else MOVED_TO
        assert watch.events()[-1] == (end, "a.bin")


async def test_neither_a_start_nor_a_refusal_nor_a_check_is_seen(
    open_store: OpenStore, directory: Path
) -> None:
    open_store().close()
    with watching(directory) as watch:
        store = open_store()
        await store.check()
        async with await store.create("1", "\u00e4.bin") as file:
            await file.write([b"data"])
        assert watch.events() == []
