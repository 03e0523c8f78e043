"""A copy of a ledger that changes meanwhile: it is consistent, or none is made."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import trio
from helpers.ledgers import allow

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.ledger.sqlite.copying import copy_in_use
from galileod.policy.quota import Holding

COPYFILE: Final = shutil.copyfile


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger.open(str(tmp_path / "ledger"))


def restart_log(ledger: SqliteLedger, upload: str) -> None:
    """Copy the log into the file, and begin it anew with a reservation."""
    trio.run(ledger.reserve, f"{upload} before", "anna", 1, allow)
    ledger.database.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    trio.run(ledger.reserve, upload, "anna", 1, allow)


def test_it_is_made_again_if_the_log_restarts(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart_log(ledger, "first")
    copied: list[str] = []

    def copyfile(source: str, target: str) -> None:
        if not copied and source.endswith("-wal"):
            restart_log(ledger, "second")
            copied.append(source)
        COPYFILE(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    copy_in_use(str(tmp_path / "ledger"), str(tmp_path / "copy"))
    assert copied
    ledger.close()
    with closing(SqliteLedger.open_read_only(str(tmp_path / "copy"))) as copy:
        assert copy.holdings() == {"anna": Holding(reserved=4, uploads=4)}


def test_it_is_given_up_if_the_log_restarts_each_time(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = iter(range(1000))

    def copyfile(source: str, target: str) -> None:
        restart_log(ledger, str(next(uploads)))
        COPYFILE(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(LedgerError, match="changes too often"):
        copy_in_use(str(tmp_path / "ledger"), str(tmp_path / "copy"))
    ledger.close()


def test_a_log_that_is_gone_is_not_in_the_copy(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio.run(ledger.reserve, "u", "anna", 1, allow)

    def close_after(source: str, target: str) -> None:
        COPYFILE(source, target)
        if source.endswith("-wal"):
            ledger.close()  # copies the log into the file, and removes it

    monkeypatch.setattr(shutil, "copyfile", close_after)
    copy_in_use(str(tmp_path / "ledger"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy-wal").exists()
    with closing(SqliteLedger.open_read_only(str(tmp_path / "copy"))) as copy:
        assert copy.holdings() == {"anna": Holding(reserved=1, uploads=1)}


def test_a_missing_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy_in_use(str(tmp_path / "ledger"), str(tmp_path / "copy"))
