"""Files that are recorded late, since the ledger failed when they were published."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from helpers.stored_files import StoredFiles

from galileod.ledger.base import LedgerError
from galileod.ledger.records import Commit
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)

LateUpload = Callable[..., Any]


@pytest.fixture
def upload_late(stored: StoredFiles, monkeypatch: pytest.MonkeyPatch) -> LateUpload:
    """Stores a file that the ledger cannot record at once."""

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LedgerError("disk I/O error")

    async def upload(*arguments: Any, **more: Any) -> None:  # noqa: ANN401  those of `upload`
        with monkeypatch.context() as patch:
            patch.setattr(stored.ledger, "commit_whole", fail)
            await stored.upload(*arguments, **more)

    return upload


def lose_rows(stored: StoredFiles) -> None:
    """As by a failover to a database that lacks the rows of uploads."""
    assert isinstance(stored.ledger, SqliteLedger)
    with stored.ledger.database.transaction() as connection:
        connection.execute("DELETE FROM uploads")


async def record(stored: StoredFiles) -> None:
    await stored.keeper.find("")
    assert stored.keeper.uncommitted == set()
    assert (await stored.ledger.total()).uploads == 0


async def test_a_late_file_is_recorded_if_nothing_was_done_to_it(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    await upload_late("anna", "a", 10)
    assert stored.records() == {}
    await record(stored)
    assert stored.records() == {"a": ("anna", 10)}


async def test_a_late_file_whose_reservation_is_lost_meanwhile_is_recorded(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    await upload_late("anna", "a", 10)
    await upload_late("bob", "b", 20)
    await upload_late("bob", "gone", 30)
    stored.unlink("gone")
    lose_rows(stored)
    await record(stored)
    assert stored.records() == {"a": ("anna", 10), "b": ("bob", 20)}
    assert await stored.ledger.total() == Holding(bytes=30, files=2)


async def test_a_file_that_was_recorded_although_the_ledger_failed_is_recorded_once(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_whole = stored.ledger.commit_whole

    async def fail_late(commits: Sequence[Commit]) -> None:
        await commit_whole(commits)
        raise LedgerError("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(stored.ledger, "commit_whole", fail_late)
        await stored.upload("anna", "a", 10)
    before = await stored.ledger.entries(["a"])
    await record(stored)
    assert await stored.ledger.entries(["a"]) == before
    assert await stored.ledger.total() == Holding(bytes=10, files=1)


async def test_a_late_file_that_was_replaced_does_not_take_the_record_of_the_newer_one(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    await upload_late("anna", "a", 10, on_conflict="replace")
    await stored.upload("bob", "a", 20, on_conflict="replace")
    assert stored.records() == {"a": ("bob", 20)}
    await record(stored)
    assert stored.records() == {"a": ("bob", 20)}
    assert (await stored.ledger.total()).bytes == 20


@pytest.mark.parametrize("again", [0, 1], ids=["once", "and the newer one fails again"])
async def test_of_late_files_with_one_name_the_last_one_is_recorded(
    stored: StoredFiles, upload_late: LateUpload, again: int
) -> None:
    await stored.upload("clara", "a", 5, on_conflict="replace")
    for number in range(2 + again):
        await upload_late("anna" if number % 2 else "bob", "a", number, on_conflict="replace")
    await record(stored)
    assert stored.records() == {"a": ("bob" if again else "anna", 1 + again)}


async def test_a_late_file_that_was_removed_gets_no_record(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    await upload_late("anna", "removed", 10)
    await upload_late("anna", "unlinked", 10)
    await upload_late("anna", "removed and stored again", 10)
    await stored.remover.remove_named(["removed", "removed and stored again"])
    stored.unlink("unlinked")
    await stored.upload("bob", "removed and stored again", 20)
    await record(stored)
    assert stored.records() == {"removed and stored again": ("bob", 20)}


async def test_a_rescan_leaves_a_late_file_to_its_user(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    await stored.upload("bob", "replaced", 10, on_conflict="replace")
    await upload_late("anna", "replaced", 20, on_conflict="replace")
    await upload_late("anna", "new", 30)
    await stored.rescan()
    await record(stored)
    assert stored.records() == {"replaced": ("anna", 20), "new": ("anna", 30)}


async def test_retention_spares_a_late_file_in_place_of_one_whose_time_is_over(
    stored: StoredFiles, upload_late: LateUpload
) -> None:
    stored.retention = 60
    await stored.upload("anna", "a", 10, on_conflict="replace")
    stored.clock.now += 61
    await upload_late("anna", "a", 10, on_conflict="replace")
    await stored.remove_expired()
    await record(stored)
    await stored.remove_expired()
    assert stored.on_disk() == {"a": 10}
    assert stored.records() == {"a": ("anna", 10)}
    stored.clock.now += 61
    await stored.remove_expired()
    assert stored.on_disk() == {}
