"""Files that are removed once their time is over."""

import pytest
import trio
from helpers.stored_files import StoredFiles
from structlog.testing import capture_logs

from galileod.files import retention
from galileod.ledger.base import LedgerError
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)


async def test_files_are_removed_when_their_time_is_over(stored: StoredFiles) -> None:
    await stored.upload("anna", "own", retention=30)
    await stored.upload("anna", "kept for long", retention=1000)
    await stored.upload("anna", "june/usual")
    stored.write("by hand", 5)
    await stored.rescan()
    for seconds, period, left in (
        (29, None, ["by hand", "june/usual", "kept for long", "own"]),
        (31, None, ["by hand", "june/usual", "kept for long"]),
        (60, 61, ["by hand", "june/usual", "kept for long"]),
        (60, 60, ["by hand", "kept for long"]),
        (999, 60, ["by hand", "kept for long"]),
        (1000, None, ["by hand"]),
    ):
        stored.clock.now = 1_700_000_000 + seconds
        stored.retention = period
        await stored.remove_expired()
        assert sorted(stored.on_disk()) == left
        assert sorted(stored.records()) == left
    assert stored.folders() == set()
    assert stored.told == [
        ("own", "expired"), ("june/usual", "expired"), ("kept for long", "expired"),
    ]  # fmt: skip


async def test_a_restart_changes_nothing(stored: StoredFiles) -> None:
    await stored.upload("anna", "own", retention=30)
    await stored.upload("anna", "usual")
    stored.clock.now += 29
    stored.restart()
    stored.retention = 30
    await stored.remove_expired()
    assert sorted(stored.on_disk()) == ["own", "usual"]
    stored.clock.now += 1
    await stored.remove_expired()
    assert stored.on_disk() == {}


async def test_a_file_that_somebody_has_changed_or_removed_is_left_alone(
    stored: StoredFiles,
) -> None:
    for name in ("changed", "gone", "seen by the rescan"):
        await stored.upload("anna", name)
    stored.write("seen by the rescan", 3)
    await stored.rescan()
    stored.write("changed", 99)
    stored.unlink("gone")
    stored.retention = 5
    stored.clock.now += 100
    with capture_logs() as logs:
        await stored.remove_expired()
    assert [(line["event"], line["path"], line["user"], line["reason"]) for line in logs] == [
        (
            "file.not_removed", "changed", "anna",
            "it has 99 bytes now, and 10 when it was stored",
        )
    ]  # fmt: skip
    assert stored.on_disk() == {"changed": 99, "seen by the rescan": 3}
    assert stored.records() == {"changed": ("", 99), "seen by the rescan": ("anna", 3)}
    assert stored.told == []
    with capture_logs() as logs:
        await stored.remove_expired()
    assert logs == []


async def test_files_that_cannot_be_removed_do_not_hold_up_the_others(
    stored: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    monkeypatch.setattr(retention, "ROUND_SECONDS", 0)  # a round begins no page
    for number in range(5):
        await stored.upload("anna", f"{number}")
    stored.retention = 1
    stored.clock.now += 10
    await stored.remove_expired()
    assert len(stored.on_disk()) == 5
    monkeypatch.setattr(retention, "ROUND_SECONDS", 60)
    await stored.remove_expired()
    assert stored.on_disk() == {}


@pytest.mark.parametrize("error", [LedgerError("disk I/O error"), UnavailableError("it is away")])
async def test_rounds_go_on_in_the_background_also_after_an_error(
    stored: StoredFiles, autojump_clock: trio.testing.MockClock, error: LedgerError
) -> None:
    """It is logged once a minute; an outage of the database is not logged here."""
    times = list[float]()

    class Failing(retention.Retention):
        async def remove_expired(self) -> None:
            times.append(trio.current_time() - began)
            await trio.lowlevel.checkpoint()
            raise error

    task = Failing(stored.ledger, stored.remover, lambda: None)
    began = trio.current_time()
    with capture_logs() as logs, trio.move_on_after(retention.REMIND_SECONDS + 10):
        await task.run()
    assert times[:3] == pytest.approx([5, 10, 15], abs=1)
    assert [(line["event"], line["reason"]) for line in logs] == (
        [] if isinstance(error, UnavailableError) else [("file.not_removed", "disk I/O error")] * 2
    )
