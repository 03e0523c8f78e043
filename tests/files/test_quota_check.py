"""The disk is asked before a quota refuses an upload."""

import pytest
import trio
from helpers.stored_files import StoredFiles

from galileod.files import quota_check
from galileod.files.check import Differences
from galileod.ledger.records import FileEntry
from galileod.policy.settings import Quota
from galileod.protocol.errors import Fault
from galileod.units import Size

pytestmark = pytest.mark.timeout(60)

TWO_FILES = Quota(user_files=2)


@pytest.mark.parametrize(
    "quota",
    [
        TWO_FILES,
        Quota(user_bytes=Size(20)),
        Quota(total_files=2),
        Quota(total_bytes=Size(20)),
        Quota(total_files=2, user_files=2),
    ],
)
async def test_what_was_moved_away_by_hand_refuses_nobody(
    stored: StoredFiles, quota: Quota
) -> None:
    await stored.upload("anna", "a", 10, quota)
    await stored.upload("anna", "b", 10, quota)
    stored.unlink("a")
    assert await stored.upload("anna", "c", 10, quota) == "c"
    assert stored.records() == {"b": ("anna", 10), "c": ("anna", 10)}


async def test_one_that_is_full_still_refuses_and_the_disk_is_not_asked_each_time(
    stored: StoredFiles, mock_clock: trio.testing.MockClock
) -> None:
    checked = list[int]()
    check = stored.checker.check

    async def count(entries: list[FileEntry]) -> Differences:
        checked.append(len(entries))
        return await check(entries)

    stored.checker.check = count  # type: ignore[method-assign, assignment]
    await stored.upload("anna", "a")
    await stored.upload("anna", "b")
    for _ in range(5):
        await refused(stored)
    assert checked == [2]
    stored.unlink("a")
    await refused(stored)  # not seen yet
    mock_clock.jump(quota_check.ASK_SECONDS)
    assert await stored.upload("anna", "c", 10, TWO_FILES) == "c"
    assert checked == [2, 2]
    # What that has found is found for all who were refused before.
    await refused(stored)
    assert checked == [2, 2]


async def refused(stored: StoredFiles) -> None:
    with pytest.raises(Fault, match="quota_exceeded"):
        await stored.upload("anna", "c", 10, TWO_FILES)


async def test_the_files_of_others_are_not_looked_at(stored: StoredFiles) -> None:
    await stored.upload("anna", "a")
    await stored.upload("bert", "b")
    stored.unlink("a")
    stored.unlink("b")
    assert await stored.quota_check.ask("anna")
    assert stored.records() == {"b": ("bert", 10)}
    assert await stored.quota_check.ask(None)
    assert stored.records() == {}


async def test_uploads_that_are_refused_at_the_same_time_share_a_check(
    stored: StoredFiles,
) -> None:
    await stored.upload("anna", "a")
    await stored.upload("anna", "b")
    for name in ("a", "b"):
        stored.unlink(name)
    async with trio.open_nursery() as nursery:
        for name in ("c", "d"):
            nursery.start_soon(stored.upload, "anna", name, 10, TWO_FILES)
    assert sorted(stored.records()) == ["c", "d"]


async def test_a_check_that_takes_too_long_goes_on_the_next_time(
    stored: StoredFiles,
    monkeypatch: pytest.MonkeyPatch,
    mock_clock: trio.testing.MockClock,
) -> None:
    monkeypatch.setattr(quota_check, "PAGE", 1)
    for name in ("a", "b", "c", "d"):
        await stored.upload("anna", name)
    seen = list[str]()

    async def check_slowly(entries: list[FileEntry]) -> Differences:
        seen.extend(each.name for each in entries)
        if len(seen) % 2 == 0:
            mock_clock.jump(quota_check.MOST_SECONDS)
            await trio.lowlevel.checkpoint()
        return Differences()

    stored.checker.check = check_slowly  # type: ignore[method-assign, assignment]
    assert not await stored.quota_check.ask("anna")
    assert seen == ["a", "b"]
    mock_clock.jump(quota_check.PAUSE * quota_check.MOST_SECONDS + 2)
    assert not await stored.quota_check.ask("anna")
    assert seen == ["a", "b", "b", "c"]


async def test_only_a_limited_number_of_users_is_remembered(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_check, "MOST_REMEMBERED", 3)
    for number in range(10):
        assert not await stored.quota_check.ask(f"user {number}")
    assert len(stored.quota_check._users) == 3


async def test_too_many_uploads_at_once_are_no_reason_to_ask_the_disk(
    stored: StoredFiles,
) -> None:
    one_at_once = Quota(user_uploads=1)
    async with stored.admitted("anna", "a", 10, one_at_once):
        with pytest.raises(Fault, match="uploads at once"):
            await stored.upload("anna", "b", 10, one_at_once)
    assert len(stored.quota_check._users) == 0
