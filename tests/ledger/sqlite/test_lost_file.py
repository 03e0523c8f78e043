"""The file of a ledger that is removed or replaced while it is open."""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import trio
from helpers.forks import run_code
from helpers.ledgers import KILL_AFTER, allow, owed
from structlog.testing import capture_logs

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger, database, filenames
from galileod.policy.quota import Holding

SUFFIXES: Final = ("", "-wal", "-shm")
LOST: Final = [("",), ("-wal",), ("-shm",), ("-wal", "-shm"), SUFFIXES]

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite3")


async def fill(path: str) -> SqliteLedger:
    """A ledger in use, with a file and its receipt, and a reservation."""
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, allow)
    await ledger.promise("u1", "7", "{}")
    await ledger.commit("u1", "a.txt")
    await ledger.reserve("u2", "bert", 30, allow)
    return ledger


def exists(path: str) -> bool:
    return os.path.exists(path)


def lose(path: str, suffixes: Sequence[str]) -> None:
    for suffix in suffixes:
        os.unlink(path + suffix)


def holdings_after_a_crash(path: str) -> dict[str, Holding]:
    """What the next start would find if the process was killed now."""
    crashed = f"{path}-crashed"
    filenames.remove(crashed)
    for suffix in ("", "-wal", filenames.copy_path("")):
        if os.path.exists(path + suffix):
            shutil.copyfile(path + suffix, crashed + suffix)
    ledger = SqliteLedger.open(crashed)
    try:
        return ledger.holdings()
    finally:
        ledger.close()


EXPECTED: Final = {
    "anna": Holding(bytes=100, files=1),
    "bert": Holding(reserved=30, uploads=1),
    "carla": Holding(reserved=1, uploads=1),
}


@pytest.mark.parametrize("function", ["open_connection", "remove", "adopt_copy"])
async def test_a_failure_while_it_is_written_again_does_not_last(
    path: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await fill(path)
    lose(path, SUFFIXES)
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise LedgerError("as an example")

        patched.setattr(database, function, fail)
        for _ in range(2):
            with pytest.raises(LedgerError, match="as an example"):
                await ledger.check()
    await ledger.reserve("u3", "carla", 1, allow)
    assert ledger.holdings() == EXPECTED
    ledger.close()
    reopened = SqliteLedger.open(path)
    assert reopened.holdings() == EXPECTED
    reopened.close()


@pytest.mark.parametrize("suffixes", LOST, ids=repr)
async def test_a_file_that_was_removed_is_written_again_with_all_its_content(
    path: str, suffixes: Sequence[str]
) -> None:
    ledger = await fill(path)
    lose(path, suffixes)
    with capture_logs() as logs:
        await ledger.reserve("u3", "carla", 1, allow)
        await ledger.reserve("u4", "carla", 0, allow)
        await ledger.release("u4")
    assert [(line["event"], line["log_level"], line["path"]) for line in logs] == [
        ("ledger.restored", "warning", path)
    ]
    assert holdings_after_a_crash(path) == EXPECTED
    assert [entry[0] for entry in await owed(ledger)] == ["a.txt"]
    look = SqliteLedger.open_read_only(path)
    assert look.holdings() == EXPECTED
    look.close()
    ledger.close()
    assert not exists(filenames.copy_path(path))
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == EXPECTED
    ledger.close()


async def test_to_look_at_the_total_is_enough(path: str) -> None:
    ledger = await fill(path)
    lose(path, SUFFIXES)
    await ledger.total()
    assert holdings_after_a_crash(path)["anna"] == EXPECTED["anna"]
    ledger.close()


@pytest.mark.parametrize("suffixes", LOST, ids=repr)
async def test_a_file_that_was_removed_before_the_end_is_there_at_the_next_start(
    path: str, suffixes: Sequence[str]
) -> None:
    ledger = await fill(path)
    lose(path, suffixes)
    ledger.close()
    ledger = SqliteLedger.open(path)
    assert ledger.holdings()["anna"] == EXPECTED["anna"]
    ledger.close()


async def test_a_file_that_was_replaced_is_refused_and_left_alone(path: str) -> None:
    ledger = await fill(path)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(f"{path}.bak")) as copy:
        source.backup(copy)
    await ledger.reserve("u3", "carla", 1, allow)
    os.rename(f"{path}.bak", path)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"replaced by another file .* restart galileod"):
            await ledger.reserve("u4", "carla", 1, allow)
    # A log of the earlier file would be applied to this one.
    assert not exists(f"{path}-wal")
    ledger.close()
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {user: EXPECTED[user] for user in ("anna", "bert")}
    ledger.close()


async def test_a_directory_that_is_gone_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = str(folder / "ledger")
    ledger = await fill(path)
    lose(path, SUFFIXES)
    folder.rmdir()
    with pytest.raises(LedgerError, match="No such file"):
        await ledger.reserve("u3", "carla", 1, allow)
    folder.mkdir()
    await ledger.reserve("u3", "carla", 1, allow)
    assert holdings_after_a_crash(path) == EXPECTED
    ledger.close()


async def test_one_in_memory_has_no_file_to_lose() -> None:
    ledger = await fill(":memory:")
    assert ledger.holdings()["anna"] == EXPECTED["anna"]
    ledger.close()


KILLED: Final = (
    KILL_AFTER
    + """
import os, sys, trio
from galileod.ledger.sqlite import SqliteLedger

async def main():
    path = sys.argv[1]
    ledger = SqliteLedger.open(path)
    await ledger.reserve("u1", "anna", 100, lambda all, mine: None)
    await ledger.commit("u1", "a.txt")
    # Synced by now, and to be lost with the process unless it is written again.
    os.unlink(path + sys.argv[3])
    kill_after(int(sys.argv[2]))
    await ledger.total()

trio.run(main)
"""
)
"""Loses a file of its ledger, and is killed after so many calls that change the directory."""


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_kill_at_any_step_once_the_copy_is_made_loses_nothing(path: str, suffix: str) -> None:
    limit, status = 0, -9
    while status == -9:
        filenames.remove(path)
        status = run_code(KILLED, path, str(limit), suffix)
        assert status in (0, -9)
        ledger = SqliteLedger.open(path)
        assert ledger.holdings() == {"anna": EXPECTED["anna"]}, limit
        ledger.close()
        assert not os.path.exists(filenames.copy_path(path))
        limit += 1
    assert limit > 4


def test_an_incomplete_copy_is_not_used(path: str) -> None:
    copy = Path(filenames.copy_path(path))
    copy.write_bytes(b"")
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {}
    ledger.close()
    assert not copy.exists()
    os.unlink(path)
    copy.write_bytes(b"half a page" * 400)
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {}
    ledger.close()
    assert not copy.exists()


def test_a_copy_beside_a_ledger_is_not_used(path: str) -> None:
    async def prepare() -> None:
        (await fill(filenames.copy_path(path))).close()

    SqliteLedger.open(path).close()
    trio.run(prepare)
    ledger = SqliteLedger.open(path)
    assert ledger.holdings() == {}
    ledger.close()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
