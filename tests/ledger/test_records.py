"""What a ledger knows of each stored file: each implementation passes these tests."""

from collections.abc import Callable

import pytest
from attrs import evolve
from helpers.clocks import FakeClock
from helpers.ledgers import allow, resumable

from galileod.ledger.base import KeptUpload, Ledger, Recovery, WholeEntry
from galileod.ledger.records import (
    About,
    Commit,
    FileEntry,
    Removal,
    Selection,
    Wanted,
)
from galileod.policy.quota import Holding

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


# Lists.


async def listed(ledger: Ledger, selection: Selection, count: int) -> list[str]:
    """The names of a selection, read `count` rows at a time."""
    names, cursor = list[str](), ""
    while True:
        entries, following = await ledger.files_from(selection, cursor, count)
        assert len(entries) <= count
        names += [each.name for each in entries]
        if following is None:
            return names
        cursor = following


async def fill(ledger: Ledger, clock: FakeClock) -> float:
    """Five files of two users, stored two seconds apart, some with a retention of their own; and
    one that no upload has stored. Returns when the first was stored."""
    first = clock.now
    for name, user, place, retention in (
        ("e", "anna", "z", None),
        ("d", "bert", "y", 3.0),
        ("c", "anna", "z", 100.0),
        ("b", "anna", "a", None),
        ("a", "bert", "y", None),
    ):
        about = About(name, None, place, retention=retention)
        await ledger.reserve(name, user, 1, allow, about=about)
        await ledger.commit(name, name)
        clock.now += 2
    assert await ledger.enter_found([("f", 7), ("a", 9)]) == 1
    return first


@pytest.mark.parametrize("count", [1, 2, 5, 6, 100])
async def test_files_are_listed_in_pages_of_any_size(
    ledger: Ledger, clock: FakeClock, count: int
) -> None:
    first = await fill(ledger, clock)
    for selection, names in (
        (Selection(), "abcdef"),
        (Selection("anna"), "bec"),
        (Selection("anna", since=first + 4), "bc"),
        (Selection("nobody"), ""),
        (Selection(""), "f"),
        (Selection(since=first + 4), "bac"),
        (Selection(until=first + 4), "ed"),
        (Selection(since=first + 2, until=first + 8), "bdc"),
        (Selection("bert", until=first + 8), "d"),
    ):
        assert await listed(ledger, selection, count) == list(names), selection
        assert [each.name for each in ledger.files(selection)] == list(names), selection


async def test_many_files_of_one_place_and_time_are_listed_once_each(ledger: Ledger) -> None:
    uploads = [f"{number:03}" for number in range(100)]
    about = About("a", None, "a")
    await ledger.enter_whole([WholeEntry(one, "anna", 1, allow, about=about) for one in uploads])
    await ledger.commit_whole([Commit(one, one) for one in uploads])
    for selection in (Selection(), Selection("anna"), Selection(since=1)):
        assert await listed(ledger, selection, 7) == uploads


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_files_expire_by_their_own_retention_or_by_that_of_all(
    ledger: Ledger, clock: FakeClock, count: int
) -> None:
    first = await fill(ledger, clock)

    async def over(retention: float | None) -> list[str]:
        names, cursor = list[str](), ""
        while True:
            entries, following = await ledger.expired(retention, cursor, count)
            names += [each.name for each in entries]
            if following is None:
                return names
            cursor = following

    clock.now = first + 4.9
    assert await over(None) == []
    assert await over(0.5) == ["e"]
    clock.now = first + 8
    assert await over(None) == ["d"]
    assert await over(2) == ["e", "b", "d"]
    clock.now = first + 1000
    assert await over(None) == ["d", "c"]
    assert await over(2) == ["e", "b", "a", "d", "c"]


# Changes.


async def entry_of(ledger: Ledger, name: str) -> FileEntry:
    return (await ledger.entries([name, "never"]))[name]


async def test_a_removed_file_counts_no_more_and_its_receipt_is_due(ledger: Ledger) -> None:
    for name in ("d/e/a", "d/e/b", "c"):
        await ledger.reserve(name, "anna", 10, allow)
        await ledger.commit(name, name, made=["d", "d/e"] if "/" in name else [])
    one, other = await entry_of(ledger, "d/e/a"), await entry_of(ledger, "d/e/b")
    assert await ledger.remove_files([Removal(one, '{"id": "1"}')]) == []
    assert ledger.holdings() == {"anna": Holding(bytes=20, files=2)}
    assert await ledger.total() == Holding(bytes=20, files=2)
    (owed,) = await ledger.outbox.first(9)
    assert (owed.name, owed.receipt, owed.kind) == ("d/e/a", '{"id": "1"}', "removed")
    # It is not removed twice, nor told twice.
    assert await ledger.remove_files([Removal(one, '{"id": "2"}')]) == []
    assert len(await ledger.outbox.first(9)) == 1
    # The folders are named once.
    assert sorted(await ledger.remove_files([Removal(other)])) == ["d", "d/e"]
    assert await ledger.remove_files([Removal(other)]) == []
    assert ledger.holdings() == {"anna": Holding(bytes=10, files=1)}


async def test_only_folders_that_were_made_for_files_are_named(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 1, allow)
    await ledger.commit("u1", "d/e/a", made=["d/e"])
    await ledger.reserve("u2", "anna", 1, allow)
    await ledger.commit("u2", "d/e-b/a")  # sorts between "d/e" and "d/e/a"
    assert await ledger.remove_files([Removal(await entry_of(ledger, "d/e/a"))]) == ["d/e"]


async def test_a_record_that_has_changed_since_it_was_read_stays(
    ledger: Ledger, clock: FakeClock
) -> None:
    await ledger.reserve("u1", "anna", 10, allow)
    await ledger.commit("u1", "a")
    before = await entry_of(ledger, "a")
    await ledger.reserve("u2", "anna", 10, allow)
    await ledger.commit("u2", "a")
    assert await ledger.drop_files([before]) == 0
    assert await ledger.resize_files([(before, 5)]) == 0
    await ledger.remove_files([Removal(before, "{}")])
    assert await ledger.outbox.first(9) == []
    assert await entry_of(ledger, "a") == FileEntry("a", "anna", 10, stored=clock.now, upload="u2")
    assert await ledger.drop_files([await entry_of(ledger, "a")]) == 1
    assert ledger.holdings() == {}


async def test_a_file_of_another_size_counts_with_that_and_has_no_time(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 10, allow)
    await ledger.commit("u1", "a", sha1=SHA1)
    assert await ledger.resize_files([(await entry_of(ledger, "a"), 25)]) == 1
    assert await entry_of(ledger, "a") == FileEntry("a", "anna", 25, upload="u1")
    assert ledger.holdings() == {"anna": Holding(bytes=25, files=1)}
    assert await ledger.total() == Holding(bytes=25, files=1)
    assert (await ledger.expired(0, "", 9))[0] == []


async def test_found_files_are_entered_unless_they_have_a_record(ledger: Ledger) -> None:
    await ledger.reserve("u1", "anna", 10, allow)
    await ledger.commit("u1", "a")
    assert await ledger.enter_found([("a", 99), ("b", 5)]) == 1
    assert ledger.holdings() == {"": Holding(bytes=5, files=1), "anna": Holding(10, 1)}
