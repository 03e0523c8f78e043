"""Of all nodes with one directory, one at a time replaces or removes files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from helpers.disk import descriptors
from helpers.local_store import open_local
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.files.publication import lock_for
from galileod.storage.errors import StorageBusyError
from galileod.storage.local import LocalStore, nodeslock

pytestmark = pytest.mark.timeout(30)

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def locking(path: Path) -> subprocess.Popen[str]:
    """Another process, which has locked the file."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    return other


@pytest.fixture
def stores(directory: Path) -> Iterator[list[LocalStore]]:
    with ExitStack() as opened:
        found = [open_local(directory, "replace", node=node) for node in ("a", "b", "c")]
        for store in found:
            opened.callback(store.close)
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodeslock, "MOST_SECONDS", 0.2)


async def test_what_replaces_files_is_alone_over_all_nodes(stores: list[LocalStore]) -> None:
    before, holding, most = descriptors(), 0, 0

    async def replace(store: LocalStore) -> None:
        nonlocal holding, most
        lock = lock_for(store)
        for _ in range(5):
            async with lock.hold(["a.bin"], replaces=True):
                holding += 1
                most = max(most, holding)
                await wait_all_tasks_blocked()
                holding -= 1

    async with trio.open_nursery() as nursery:
        for store in stores:
            nursery.start_soon(replace, store)
    assert most == 1
    assert descriptors() == before


async def test_files_that_replace_none_do_not_wait_for_another_node(
    stores: list[LocalStore], impatient: None
) -> None:
    a, b = lock_for(stores[0]), lock_for(stores[1])
    async with a.hold(["a.bin"], replaces=True):
        with pytest.raises(StorageBusyError, match="another node"):
            async with b.hold(["a.bin"], replaces=True):
                pass
        async with b.hold(["b.bin"], replaces=False):
            pass


async def test_who_waits_too_long_leaves_nothing_and_tries_again_later(
    stores: list[LocalStore], impatient: None
) -> None:
    async with stores[0].exclusive():
        before = descriptors()
        with pytest.raises(StorageBusyError, match="another node"):
            async with stores[1].exclusive():
                pass
        assert descriptors() == before
    async with stores[1].exclusive():
        pass


async def test_those_who_wait_behind_one_that_waits_fail_at_the_same_time(
    stores: list[LocalStore], directory: Path, autojump_clock: MockClock
) -> None:
    other, failed = locking(directory / ".galileod" / nodeslock.FILE), list[float]()

    async def replace() -> None:
        with pytest.raises(StorageBusyError, match="another node"):
            async with stores[0].exclusive():
                pass
        failed.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(replace)
    other.kill()
    other.communicate()
    assert failed == [pytest.approx(began + nodeslock.MOST_SECONDS, abs=1)] * 5


async def test_the_time_in_which_this_process_had_the_lock_does_not_count(
    stores: list[LocalStore], directory: Path, autojump_clock: MockClock
) -> None:
    path, got = directory / ".galileod" / nodeslock.FILE, trio.Event()

    async def replace() -> None:
        async with stores[0].exclusive():
            got.set()

    async with trio.open_nursery() as nursery:
        async with stores[0].exclusive():
            nursery.start_soon(replace)
            await trio.sleep(2 * nodeslock.MOST_SECONDS)
            path.unlink()
            other = locking(path)
        await trio.sleep(nodeslock.MOST_SECONDS / 2)
        assert not got.is_set()
        other.kill()
        other.communicate()
    assert got.is_set()


async def test_the_lock_of_a_process_ends_with_it(
    stores: list[LocalStore], directory: Path, impatient: None
) -> None:
    other = locking(directory / ".galileod" / nodeslock.FILE)
    with pytest.raises(StorageBusyError, match="another node"):
        async with stores[0].exclusive():
            pass
    other.kill()
    other.communicate()
    async with stores[0].exclusive():
        pass


async def test_a_lock_file_that_was_removed_excludes_the_others_again(
    stores: list[LocalStore], directory: Path, impatient: None
) -> None:
    path = directory / ".galileod" / nodeslock.FILE
    async with stores[0].exclusive():
        path.unlink()
    async with stores[1].exclusive():
        with pytest.raises(StorageBusyError, match="another node"):
            async with stores[0].exclusive():
                pass


async def test_a_galileod_with_a_ledger_of_its_own_has_no_such_lock(directory: Path) -> None:
    store = open_local(directory, "replace")
    async with lock_for(store).hold(["a.bin"], replaces=True):
        assert nodeslock.FILE not in os.listdir(directory / ".galileod")
    store.close()
