"""Files that are removed, from the disk and from the ledger."""

import os
from collections.abc import Sequence
from typing import NoReturn

import pytest
import trio
from helpers.stored_files import StoredFiles, results
from structlog.testing import capture_logs

from galileod.files.removal import MOST_AT_ONCE
from galileod.ledger.base import LedgerError
from galileod.ledger.records import Removal
from galileod.policy.quota import Holding
from galileod.storage.errors import StorageError

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


async def test_a_file_that_cannot_be_looked_at_holds_up_no_other(stored: StoredFiles) -> None:
    for name in ("a", "b", "c"):
        await stored.upload("anna", name)
    hidden = stored.make_hidden("b")
    entries = stored.entries()
    expected = {"a": "removed", hidden: "failed", "c": "removed"}
    assert results(await stored.remover.look(entries)) == expected
    outcomes = await stored.remover.remove_recorded(entries, "expired")
    assert results(outcomes) == expected
    assert set(stored.records()) == {hidden}
    assert [name for name, _ in stored.told] == ["a", "c"]


async def owed(stored: StoredFiles) -> list[str]:
    return [each.name for each in await stored.ledger.outbox.first(9, ["removed"])]


async def test_the_hook_hears_of_each_removal_once_also_after_a_crash(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon dies after the file is gone, and before the ledger knows."""
    for name in ("a", "b", "c"):
        await stored.upload("anna", name)

    async def die(names: Sequence[str], folders: Sequence[str] = ()) -> NoReturn:
        del folders
        stored.unlink("a")
        raise KeyboardInterrupt(names)

    monkeypatch.setattr(stored.store, "remove", die)
    with pytest.raises(KeyboardInterrupt):
        await stored.remover.remove_named(["a", "b"])
    assert await owed(stored) == []
    stored.restart()
    assert set(stored.records()) == {"b", "c"}
    assert await owed(stored) == ["a"]
    await stored.remover.remove_named(["b"])
    assert await owed(stored) == ["a", "b"]
    stored.restart()
    assert await owed(stored) == ["a", "b"]


async def test_the_hook_hears_of_a_removal_that_the_ledger_could_not_record(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored.upload("anna", "a", retention=1)
    stored.clock.now += 2

    async def fail(_removals: Sequence[Removal]) -> NoReturn:
        raise LedgerError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(stored.ledger, "remove_files", fail)
        await stored.remove_expired()
    assert (stored.on_disk(), await owed(stored)) == ({}, [])
    await stored.remove_expired()
    assert (stored.records(), await owed(stored)) == ({}, ["a"])


async def test_nothing_is_removed_whose_receipt_cannot_be_recorded(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored.upload("anna", "a")

    async def fail(_removals: Sequence[Removal]) -> NoReturn:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(stored.ledger, "promise_removals", fail)
    with pytest.raises(LedgerError):
        await stored.remover.remove_named(["a"])
    assert stored.on_disk() == {"a": 10}


async def test_the_hook_does_not_hear_of_a_file_that_could_not_be_removed(
    stored: StoredFiles,
) -> None:
    await stored.upload("anna", "a")
    real = stored.store
    stored.remover._store = _FailingStore(stored)  # type: ignore[assignment]
    await stored.remover.remove_named(["a"])
    stored.unlink("a")  # by hand
    stored.remover._store = real
    stored.restart()
    assert (stored.records(), await owed(stored)) == ({}, [])


async def test_a_file_whose_name_is_not_utf_8_is_removed_as_it_is_listed(
    stored: StoredFiles,
) -> None:
    for name in (b"a\xff", b"june\xfe/b", rb"c\xff", rb"both\xff", b"both\xff"):
        stored.write(os.fsdecode(name), 3)
    names = [r"a\xff", r"june\xfe/b", r"c\xff", r"both\xff"]
    assert set(results(await stored.remover.remove_named(names)).values()) == {"removed"}
    assert stored.on_disk() == {os.fsdecode(b"both\xff"): 3}


async def test_nothing_is_published_while_files_are_removed(stored: StoredFiles) -> None:
    names = [await stored.upload("anna", f"{number}") for number in range(MOST_AT_ONCE + 1)]
    async with trio.open_nursery() as nursery, stored.publication.hold([], replaces=False):
        nursery.start_soon(stored.remover.remove_named, names)
        await trio.testing.wait_all_tasks_blocked()
        assert len(stored.on_disk()) == len(names)
    assert stored.on_disk() == {}
    assert stored.records() == {}
