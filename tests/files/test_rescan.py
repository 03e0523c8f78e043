"""The ledger is brought back to the disk while uploads run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from unittest.mock import ANY

import pytest
import trio
import trio.testing
from attrs import evolve
from helpers.stored_files import OrderedStore, StoredFiles
from structlog.testing import capture_logs

from galileod.files import check
from galileod.files.check import Differences, Rescanned
from galileod.ledger.base import LedgerError
from galileod.ledger.objects import Claim
from galileod.policy.quota import Holding
from galileod.storage.errors import StorageError
from galileod.storage.finished import Standing
from galileod.storage.local import LocalStore

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("galileod.files.rescan.PAGE", 2)
    monkeypatch.setattr("galileod.files.rescan.LISTED", 2)
    monkeypatch.setattr("galileod.files.comparison.LISTED", 2)


@pytest.fixture(params=[LocalStore, OrderedStore])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredFiles]:
    """Files that are looked at one by one, and files that are compared with a listing."""
    files = StoredFiles(tmp_path / "files", request.param)
    yield files
    files.stop()


@pytest.fixture
def ordered(tmp_path: Path) -> Iterator[StoredFiles]:
    """Files that are compared with a listing."""
    files = StoredFiles(tmp_path / "files", OrderedStore)
    yield files
    files.stop()


async def test_records_become_what_is_on_the_disk(stored: StoredFiles) -> None:
    for name in ("a", "b", "june/c", "june/d", "e"):
        await stored.upload("anna", name)
    same = {each.name: each for each in stored.entries()}
    stored.unlink("a")
    stored.unlink("june/c")
    stored.write("b", 25)
    stored.write("new/by hand", 5)
    stored.write("f", 0)
    stored.write(".hidden/x", 7)
    os.symlink("b", stored.directory / "link")
    with capture_logs() as logs:
        done = await stored.rescan()
    assert evolve(done, seconds=0) == Rescanned(5, 5, Differences(2, 1, 2), ended=True)
    assert [(line["event"], line["files"], line["gone"]) for line in logs] == [
        ("ledger.rescanned", 5, 2)
    ]
    assert stored.records() == {
        "b": ("anna", 25), "e": ("anna", 10), "f": ("", 0), "june/d": ("anna", 10),
        "new/by hand": ("", 5),
    }  # fmt: skip
    assert stored.ledger.holdings() == {
        "": Holding(bytes=5, files=2),
        "anna": Holding(bytes=45, files=3),
    }
    after = {each.name: each for each in stored.entries()}
    assert (after["e"], after["june/d"]) == (same["e"], same["june/d"])
    assert not (await stored.rescan()).differences


async def test_a_file_whose_name_is_not_utf_8_is_left_to_the_start(stored: StoredFiles) -> None:
    stored.write(os.fsdecode(b"caf\xe9"), 5)
    stored.restart()
    before = stored.records()
    assert list(before.values()) == [("", 5)]
    assert not (await stored.rescan()).differences
    assert stored.records() == before


async def test_only_one_rescan_runs_at_a_time_and_a_request_causes_one_more(
    stored: StoredFiles,
) -> None:
    stored.write("a", 1)
    async with aclosing(stored.rescanner.rescan()) as steps, trio.open_nursery() as nursery:
        await anext(steps)
        with capture_logs() as logs:
            nursery.start_soon(stored.rescanner.run)
            stored.rescanner.request()
            stored.rescanner.request()
            await trio.testing.wait_all_tasks_blocked()
            async for _ in steps:
                pass
            assert len(logs) == 1
            while len(logs) == 1:  # noqa: ASYNC110  the other one ends with a line
                await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked()
            assert [line["event"] for line in logs] == ["ledger.rescanned"] * 2
        nursery.cancel_scope.cancel()


async def test_a_rescan_that_fails_is_logged_and_the_next_one_works(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("disk I/O error")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stored.rescanner.run)
        with capture_logs() as logs:
            with monkeypatch.context() as patched:
                patched.setattr(stored.ledger, "files_from", fail)
                stored.rescanner.request()
                while not logs:  # noqa: ASYNC110  it ends with a line
                    await trio.sleep(0.01)
            stored.rescanner.request()
            while len(logs) == 1:  # noqa: ASYNC110  likewise
                await trio.sleep(0.01)
        assert [line["event"] for line in logs] == ["ledger.behind", "ledger.rescanned"]
        nursery.cancel_scope.cancel()


# What happens between the first look and the second.


async def test_a_file_that_comes_back_before_the_second_look_keeps_its_record(
    stored: StoredFiles,
) -> None:
    await stored.upload("anna", "a")
    (entry,) = stored.entries()
    stored.unlink("a")
    look, looks = stored.store.look, 0

    async def look_and_restore(names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        nonlocal looks
        found = await look(names)
        looks += 1
        stored.write("a", 10)
        return found

    stored.store.look = look_and_restore  # type: ignore[method-assign]
    assert await stored.checker.check([entry]) == Differences()
    assert looks == 2
    assert stored.entries() == [entry]


async def test_a_file_that_is_replaced_meanwhile_keeps_its_new_record(stored: StoredFiles) -> None:
    await stored.upload("anna", "a", 10)
    (entry,) = stored.entries()
    stored.unlink("a")
    await stored.upload("bert", "a", 20)
    stored.unlink("a")
    assert await stored.checker.check([entry]) == Differences()
    assert stored.records() == {"a": ("bert", 20)}


async def test_a_file_that_is_being_published_is_entered_by_its_upload_alone(
    stored: StoredFiles,
) -> None:
    async with (
        trio.open_nursery() as nursery,
        stored.admitted("anna", "a", 10) as reservation,
        await stored.store.create(reservation.upload.id, "a") as sink,
    ):
        await sink.write([bytes(10)])
        async with stored.publication.hold([], replaces=False):
            committed = await sink.commit()
            nursery.start_soon(stored.checker.add, ["a"])
            await trio.testing.wait_all_tasks_blocked()
            assert stored.records() == {}
            await reservation.commit(committed, "sha1")
    assert stored.records() == {"a": ("anna", 10)}
    assert stored.ledger.holdings() == {"anna": Holding(bytes=10, files=1)}


def test_pages_are_small_enough_not_to_hold_up_uploads() -> None:
    assert check.PAGE <= 500


async def test_files_whose_names_are_not_utf_8_are_entered_and_dropped(
    stored: StoredFiles,
) -> None:
    odd = [os.fsdecode(name) for name in (b"a\xff", b"june\xfe/b")]
    for name in odd:
        stored.write(name, 3)
    assert (await stored.rescan()).differences == Differences(unknown=2)
    assert set(stored.records()) == {r"a\xff", r"june\xfe/b"}
    assert (await stored.rescan()).differences == Differences()
    stored.unlink(odd[0])
    stored.write(odd[1], 4)
    assert (await stored.rescan()).differences == Differences(gone=1, changed=1)
    assert stored.records() == {r"june\xfe/b": ("", 4)}


async def test_a_file_that_cannot_be_looked_at_stays_and_holds_up_no_other(
    stored: StoredFiles,
) -> None:
    for name in ("a", "b", "c"):
        await stored.upload("anna", name)
    hidden = stored.make_hidden("b")
    stored.unlink("c")
    with capture_logs() as logs:
        assert (await stored.rescan()).differences == Differences(gone=1)
    assert set(stored.records()) == {"a", hidden}
    (behind,) = (line for line in logs if line["event"] == "ledger.behind")
    assert behind["files"] == 1
    assert behind["reason"].startswith("cannot ")


# A listing that is out of date.


def make_outdated(stored: StoredFiles, listing: Mapping[str, int | None]) -> None:
    assert isinstance(stored.store, OrderedStore)
    stored.store.outdated = listing


async def test_a_file_that_is_not_listed_yet_keeps_its_record(ordered: StoredFiles) -> None:
    for name in ("a", "b", "c"):
        await ordered.upload("anna", name)
    make_outdated(ordered, {"b": None, "c": None})
    before = ordered.entries()
    assert await ordered.rescan() == Rescanned(3, 1, ended=True, seconds=ANY)
    assert ordered.entries() == before


async def test_a_file_that_is_still_listed_is_not_entered_again(ordered: StoredFiles) -> None:
    await ordered.upload("anna", "b")
    make_outdated(ordered, {"a": 5, "c": 5})
    assert not (await ordered.rescan()).differences
    assert set(ordered.records()) == {"b"}


async def test_a_size_that_is_listed_still_does_not_change_a_record(ordered: StoredFiles) -> None:
    await ordered.upload("anna", "a", 10)
    make_outdated(ordered, {"a": 5})
    assert not (await ordered.rescan()).differences
    assert ordered.records() == {"a": ("anna", 10)}


async def test_a_file_is_found_by_its_record_if_its_upload_ends_meanwhile(
    ordered: StoredFiles,
) -> None:
    await ordered.upload("anna", "b")
    await ordered.upload("anna", "d")
    async with aclosing(ordered.rescanner.rescan()) as steps:
        await anext(steps)  # the records up to "d" were read
        for name in ("a", "c", "e"):
            await ordered.upload("anna", name)
        make_outdated(ordered, {"c": 10})
        async for done in steps:
            assert not done.differences
    assert set(ordered.records()) == set("abcde")


async def test_the_name_of_a_running_upload_is_not_reported(ordered: StoredFiles) -> None:
    await ordered.ledger.objects.claim_whole([Claim("u1", 3, "a", "rename")])
    ordered.write("a", 3)
    ordered.write("b", 3)
    assert (await ordered.rescan()).differences == Differences(unknown=1)
    assert set(ordered.records()) == {"b"}


async def test_files_are_looked_at_only_where_listing_and_records_differ(
    ordered: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await ordered.upload("anna", name)
    ordered.unlink("b")
    ordered.write("c", 20)
    ordered.write("f", 1)
    look, looked = ordered.store.look, set[str]()

    async def look_and_note(names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        looked.update(names)
        return await look(names)

    monkeypatch.setattr(ordered.store, "look", look_and_note)
    assert (await ordered.rescan()).differences == Differences(1, 1, 1)
    assert looked == {"b", "c", "f"}


async def test_records_are_compared_in_the_order_of_their_utf_8(ordered: StoredFiles) -> None:
    names = ["Z", "a", "a b", "aa", "b/c", "b0", "é", "\uffee", "\U0001f600"]
    for name in names:
        await ordered.upload("anna", name)
    ordered.unlink("aa")
    assert (await ordered.rescan()).differences == Differences(gone=1)
    assert [each.name for each in ordered.entries()] == [name for name in names if name != "aa"]
