"""Files that are removed, from the disk and from the ledger."""

import os

import pytest
import trio
from helpers.stored_files import StoredFiles, results
from structlog.testing import capture_logs

from galileod.files.removal import MOST_AT_ONCE
from galileod.policy.quota import Holding
from galileod.storage.base import StorageError

pytestmark = pytest.mark.timeout(60)


async def test_a_file_that_is_named_goes_from_disk_and_ledger(stored: StoredFiles) -> None:
    await stored.upload("anna", "june/a", 10)
    await stored.upload("anna", "june/b", 20)
    with capture_logs() as logs:
        (outcome,) = await stored.remover.remove_named(["june/a"])
    assert (outcome.result, outcome.user, outcome.size) == ("removed", "anna", 10)
    assert stored.on_disk() == {"june/b": 20}
    assert stored.ledger.holdings() == {"anna": Holding(bytes=20, files=1)}
    assert [(line["event"], line["path"], line["user"]) for line in logs] == [
        ("file.removed", "june/a", "anna")
    ]
    assert stored.told == [("june/a", "removed")]
    (owed,) = await stored.ledger.outbox.first(9, ["removed"])
    assert owed.name == "june/a"


async def test_what_is_named_goes_whatever_has_become_of_it(stored: StoredFiles) -> None:
    for name in ("gone", "changed", "replaced"):
        await stored.upload("anna", name)
    stored.unlink("gone")
    stored.write("changed", 99)
    stored.unlink("replaced")
    os.symlink("/etc/passwd", stored.directory / "replaced")
    stored.write("by hand", 5)
    names = ["gone", "changed", "replaced", "by hand", "nothing", "../x", "/etc/passwd", ""]
    outcomes = await stored.remover.remove_named(names)
    assert results(outcomes) == {
        "gone": "gone",
        "changed": "removed",
        "replaced": "gone",
        "by hand": "removed",
        "nothing": "failed",
        "../x": "failed",
        "/etc/passwd": "failed",
        "": "failed",
    }
    assert outcomes[4].reason == "there is no such file"
    assert stored.records() == {}
    assert stored.on_disk() == {"replaced": os.stat("/etc/passwd").st_size}  # the link is not ours
    assert [name for name, _ in stored.told] == ["gone", "changed", "replaced"]


async def test_folders_that_were_made_go_with_the_last_file_of_the_ledger(
    stored: StoredFiles,
) -> None:
    os.mkdir(stored.directory / "mine")
    await stored.upload("anna", "mine/made/a")
    await stored.upload("anna", "mine/b")
    await stored.upload("anna", "made/deep/c")
    await stored.upload("anna", "made/d")
    await stored.upload("anna", "used/e")
    stored.write("used/by hand", 1)
    await stored.remover.remove_named(["mine/made/a"])
    assert stored.folders() == {"mine", "made", "made/deep", "used"}
    await stored.remover.remove_named(["mine/b", "made/deep/c", "used/e"])
    assert stored.folders() == {"mine", "made", "used"}
    await stored.remover.remove_named(["made/d"])
    assert stored.folders() == {"mine", "used"}


async def test_a_recorded_file_is_removed_only_if_it_is_still_that(stored: StoredFiles) -> None:
    for name in ("same", "gone", "changed"):
        await stored.upload("anna", name)
    await stored.upload("anna", "replaced", on_conflict="replace")
    entries = stored.entries()
    stored.unlink("gone")
    stored.write("changed", 99)
    await stored.upload("bert", "replaced", on_conflict="replace")
    assert results(await stored.remover.look(entries)) == {
        "same": "removed",
        "gone": "gone",
        "changed": "changed",
        "replaced": "removed",
    }
    outcomes = await stored.remover.remove_recorded(entries, "removed")
    assert results(outcomes) == {"same": "removed", "gone": "gone", "changed": "changed"}
    assert stored.on_disk() == {"changed": 99, "replaced": 10}
    assert stored.records() == {"changed": ("", 99), "replaced": ("bert", 10)}
    assert stored.told == [("same", "removed")]


async def test_a_file_that_cannot_be_removed_stays_in_the_ledger(stored: StoredFiles) -> None:
    await stored.upload("anna", "a")
    await stored.upload("anna", "b")
    failing = _FailingStore(stored)
    stored.remover._store = failing  # type: ignore[assignment]
    outcomes = await stored.remover.remove_named(["a", "b"])
    assert results(outcomes) == {"a": "failed", "b": "removed"}
    assert outcomes[0].reason == "cannot remove a: Operation not permitted"
    assert stored.records() == {"a": ("anna", 10)}


class _FailingStore:
    """A directory with a file that is immutable, which only root can make."""

    def __init__(self, stored: StoredFiles) -> None:
        self._store = stored.store

    async def look(self, names: list[str]) -> object:
        return await self._store.look(names)

    async def remove(self, names: list[str], folders: list[str] = []) -> object:  # noqa: B006
        results = await self._store.remove([name for name in names if name != "a"], folders)
        return [StorageError("cannot remove a: Operation not permitted"), *results]


async def test_nothing_is_published_while_files_are_removed(stored: StoredFiles) -> None:
    names = [await stored.upload("anna", f"{number}") for number in range(MOST_AT_ONCE + 1)]
    async with trio.open_nursery() as nursery, stored.publication.hold(replaces=False):
        nursery.start_soon(stored.remover.remove_named, names)
        await trio.testing.wait_all_tasks_blocked()
        assert len(stored.on_disk()) == len(names)
    assert stored.on_disk() == {}
    assert stored.records() == {}
