"""What a ledger knows of each stored file: each implementation passes these tests."""

from collections.abc import Callable

import pytest
from attrs import evolve
from helpers.clocks import FakeClock
from helpers.ledgers import allow, resumable

from galileod.ledger.base import KeptUpload, Ledger, Recovery, WholeEntry
from galileod.ledger.records import About, Commit, FileEntry, Wanted

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
    sizes = (7, 90, 100)
    files = await ledger.find_files(user, [Wanted(place, size) for size in sizes])
    return [file for index in range(len(sizes)) for file in files.get(index, [])]


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


async def test_only_the_newest_of_the_files_that_match_are_found(ledger: Ledger) -> None:
    places, numbers = ("a", "b", ""), range(40)
    entries = [
        WholeEntry(
            f"{place}{number}", "anna", number // 20, allow,
            about=About(place, None, place, number % 5), sha1=str(number % 2),
        )
        for number in numbers
        for place in places
    ]  # fmt: skip
    await ledger.enter_whole(entries)
    await ledger.commit_whole([Commit(one.upload, one.upload) for one in entries])

    async def names(*wanted: Wanted) -> dict[int, list[str]]:
        files = await ledger.find_files("anna", wanted)
        return {index: [one.name for one in each] for index, each in files.items()}

    assert await names(
        Wanted("a", 0),
        Wanted("b", 1, 2),
        Wanted("c", 1),
        Wanted("b", 0, sha1="0"),
        Wanted("a", 1, 3, "1"),
        Wanted("a", 1, 3, "2"),
        Wanted("a", 2),
        Wanted("", 0),
        Wanted("a", 0),
        Wanted("a", 0, 2**70, "\udcff"),
    ) == {
        0: ["a19", "a18"],
        1: ["b37", "b32"],
        3: ["b18", "b16"],
        4: ["a33", "a23"],
        8: ["a19", "a18"],
    }
    every = [Wanted("a", number // 20, number % 5, str(number % 2)) for number in numbers]
    found = await names(*every)
    assert [found[number][-1] for number in numbers] == [
        f"a{20 * (number // 20) + number % 10}" for number in numbers
    ]
    assert await names() == {}


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
