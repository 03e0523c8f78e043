"""What a ledger knows of each stored file: each implementation passes these tests."""

from collections.abc import Callable

import pytest
from attrs import evolve
from helpers.clocks import FakeClock
from helpers.ledgers import allow, resumable

from galileod.ledger.base import KeptUpload, Ledger, Recovery, WholeEntry
from galileod.ledger.records import MOST_OF_PLACE, About, Commit, FileEntry

Open = Callable[[], Ledger]
"""Opens the same ledger each time."""

SHA1 = "a9993e364706816aba3e25717850c26c9cd0d89d"
ABOUT = About("Ä b.txt", "june/", "june/Ä b.txt", 1_790_000_000_123, 60.0, "jti", '{"a": 1}')


def recorded(name: str, clock: FakeClock, upload: str = "u1") -> FileEntry:
    return FileEntry(
        name,
        "anna",
        100,
        SHA1,
        clock.now,
        "Ä b.txt",
        "june/",
        "june/Ä b.txt",
        1_790_000_000_123,
        upload,
        clock.now + 60,
        "jti",
        '{"a": 1}',
    )


async def found(ledger: Ledger, user: str, place: str = ABOUT.place) -> list[FileEntry]:
    return list((await ledger.find_files(user, [place])).get(place, []))


async def test_what_is_known_of_an_upload_becomes_the_record_of_its_file(
    ledger: Ledger, clock: FakeClock
) -> None:
    await ledger.reserve("u1", "anna", 100, allow, about=ABOUT)
    clock.now += 5
    await ledger.commit("u1", "x/b (1).txt", sha1=SHA1)
    assert await found(ledger, "anna") == [recorded("x/b (1).txt", clock)]
    assert await found(ledger, "bert") == []


async def test_a_whole_file_has_the_same_record(ledger: Ledger, clock: FakeClock) -> None:
    entry = WholeEntry("u1", "anna", 100, allow, about=ABOUT, sha1=SHA1)
    reserved = evolve(entry, upload="u2", sha1=None)
    assert await ledger.enter_whole([entry, reserved]) == [None, None]
    commits = [Commit("u1", "a"), Commit("u2", "b", sha1=SHA1)]
    assert await ledger.commit_whole(commits) == [None, None]
    assert await found(ledger, "anna") == [recorded("b", clock, "u2"), recorded("a", clock)]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_crash_between_publication_and_commit_leaves_the_whole_record(
    reopen: Open, clock: FakeClock, *, whole: bool
) -> None:
    ledger = reopen()
    if whole:
        entry = WholeEntry(
            "u1", "anna", 100, allow, identity="7", receipt="{}", about=ABOUT, sha1=SHA1
        )
        assert await ledger.enter_whole([entry]) == [None]
    else:
        await ledger.reserve("u1", "anna", 100, allow, about=ABOUT)
        await ledger.promise("u1", "7", None, SHA1)
    ledger.close()
    ledger = reopen()
    ledger.reconcile({"a": 100}, {"7": "a"})
    assert await found(ledger, "anna") == [recorded("a", clock)]


async def test_an_upload_that_is_kept_and_resumed_after_a_restart_has_its_record(
    reopen: Open, clock: FakeClock
) -> None:
    ledger = reopen()
    await ledger.reserve("u1", "anna", 100, allow, resumable=resumable("k"), about=ABOUT)
    await ledger.promise("u1", "7", None, "of a file that failed")
    await ledger.keep("u1", 40, 40, 60, 16)
    ledger.close()
    ledger = reopen()
    ledger.reconcile({}, {}, recovery=Recovery({"u1": 40}, seconds=60))
    kept = await ledger.find("k")
    assert isinstance(kept, KeptUpload)
    assert kept.about == ABOUT
    await ledger.resume("u1", allow)
    await ledger.commit("u1", "a")
    assert await found(ledger, "anna") == [evolve(recorded("a", clock), sha1=None)]


async def test_a_file_that_is_replaced_has_the_record_of_the_new_one(
    ledger: Ledger, clock: FakeClock
) -> None:
    await ledger.reserve("u1", "anna", 5, allow, about=About("b", None, "b"))
    await ledger.commit("u1", "b", sha1="1")
    clock.now += 5
    await ledger.reserve("u2", "bert", 7, allow, about=About("b", "", "b"))
    await ledger.commit("u2", "b", sha1="2")
    assert await found(ledger, "anna", "b") == []
    assert await found(ledger, "bert", "b") == [
        FileEntry("b", "bert", 7, "2", clock.now, "b", "", "b", upload="u2")
    ]


async def test_only_the_newest_files_of_a_place_are_found(ledger: Ledger) -> None:
    about = {place: About(place, None, place) for place in ("a", "b", "c", "")}
    entries = [
        WholeEntry(f"{place}{number}", "anna", 1, allow, about=about[place])
        for number in range(MOST_OF_PLACE + 4)
        for place in ("a", "b", "")
    ]
    await ledger.enter_whole(entries)
    await ledger.commit_whole([Commit(one.upload, one.upload) for one in entries])
    files = await ledger.find_files("anna", ["c", "b", "a", ""])
    assert {place: [one.name for one in each] for place, each in files.items()} == {
        place: [f"{place}{number}" for number in range(MOST_OF_PLACE + 3, 3, -1)]
        for place in ("a", "b")
    }
    assert await ledger.find_files("anna", []) == {}


async def test_a_file_that_was_changed_by_hand_keeps_only_what_is_certain(ledger: Ledger) -> None:
    for name in ("a", "b"):
        await ledger.reserve(name, "anna", 100, allow, about=evolve(ABOUT, place=name))
        await ledger.commit(name, name, sha1=SHA1)
    before = await found(ledger, "anna", "b")
    ledger.reconcile({"a": 90, "b": 100}, {}, modified={"a": 5.0})
    (changed,) = await found(ledger, "anna", "a")
    assert (changed.user, changed.size, changed.sent) == ("anna", 90, ABOUT.sent)
    assert (changed.sha1, changed.stored, changed.modified, changed.expires) == (None,) * 4
    assert await found(ledger, "anna", "b") == before
    assert ledger.undated() == []
