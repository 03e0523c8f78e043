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


@pytest.fixture
def checked(stored: StoredFiles, mock_clock: trio.testing.MockClock) -> list[int]:
    """The number of files of each check; looking at one takes a millisecond."""
    numbers = list[int]()
    check = stored.checker.check

    async def count(entries: list[FileEntry]) -> Differences:
        numbers.append(len(entries))
        mock_clock.jump(0.001 * len(entries))
        return await check(entries)

    stored.checker.check = count  # type: ignore[method-assign, assignment]
    return numbers


async def end_pauses(clock: trio.testing.MockClock) -> None:
    """Let time pass as soon as a check waits for its turn. An autojump clock does not wait for
    threads."""
    while True:
        wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if wait <= quota_check.MOST_WAIT:
            clock.jump(wait)
        await trio.lowlevel.checkpoint()


async def test_what_was_moved_away_since_the_last_check_refuses_nobody_either(
    stored: StoredFiles, checked: list[int], mock_clock: trio.testing.MockClock
) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    for name in names[:2]:
        await stored.upload("anna", name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_pauses, mock_clock)
        for gone, name in zip(names, names[2:], strict=False):  # a program takes each file
            stored.unlink(gone)
            assert await stored.upload("anna", name, 10, TWO_FILES) == name
        nursery.cancel_scope.cancel()
    assert checked == [2, 2, 2, 2]


async def test_one_that_is_full_is_refused_and_the_disk_is_not_asked_all_the_time(
    stored: StoredFiles, checked: list[int], mock_clock: trio.testing.MockClock
) -> None:
    await stored.upload("anna", "a")
    await stored.upload("anna", "b")
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_pauses, mock_clock)
        for _ in range(5):
            await refused(stored)
        nursery.cancel_scope.cancel()
    assert checked == [2] * 5
    looking = 5 * 0.002
    assert trio.current_time() - began >= looking + 4 * quota_check.PAUSE * 0.002 - 1e-6


async def test_an_upload_does_not_wait_long_for_the_next_check(
    stored: StoredFiles, checked: list[int], mock_clock: trio.testing.MockClock
) -> None:
    await stored.upload("anna", "a")
    await stored.upload("anna", "b")
    await refused(stored)
    stored.quota_check._find("anna").again += quota_check.MOST_WAIT  # as after a longer check
    stored.unlink("a")
    await refused(stored)
    assert checked == [2]
    mock_clock.jump(quota_check.MOST_WAIT + 0.02)
    assert await stored.upload("anna", "c", 10, TWO_FILES) == "c"


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
