"""A ledger that is damaged, missing, removed or replaced, with the daemon as a process."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from helpers.clients import HashClaim, JavaScriptClient, check_serves, some_bytes
from helpers.daemon import Daemon, Daemons, run_galileod

from galileod.ledger.sqlite.copying import copy_in_use

SUFFIXES = ("", "-wal", "-shm")


def ledger_of(host: Daemon) -> Path:
    return host.directory / ".galileod" / "ledger.sqlite3"


def files_by_user(host: Daemon) -> dict[str, int]:
    answer = run_galileod("usage", "--json", "--config", host.config)
    assert answer.returncode == 0, answer.stderr
    return {user["user"]: user["files"] for user in json.loads(answer.stdout)["users"]}


def spoil(path: Path) -> None:
    """Spoil all but the first page, from which SQLite knows that this is a database."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


def test_a_damaged_ledger_is_set_aside_at_the_start(daemon: Daemons) -> None:
    host = daemon()
    check_serves(host)
    assert host.stop() == 0
    spoil(ledger_of(host))
    look = run_galileod("usage", "--config", host.config)
    assert (look.returncode, look.stdout) == (1, "")
    assert look.stderr.startswith(f"galileod: {ledger_of(host)}: the ledger is damaged: ")
    assert look.stderr.count("\n") == 1
    host.start()
    line = host.wait_for("ledger.damaged", level="warning", path=str(ledger_of(host)))
    assert Path(line["moved_to"]).exists()
    assert host.wait_for("ledger.owners_unknown", files=1)
    assert files_by_user(host) == {"": 1}
    check_serves(host)
    assert files_by_user(host) == {"": 1, "127.0.0.1": 1}
    assert host.stop() == 0
    host.start()
    assert not host.find("ledger.damaged")
    assert not host.find("ledger.owners_unknown")


def test_a_missing_ledger_beside_files_is_told(daemon: Daemons) -> None:
    host = daemon()
    assert not host.find("ledger.owners_unknown")
    check_serves(host)
    assert host.stop() == 0
    ledger_of(host).unlink()
    host.start()
    assert host.wait_for("ledger.owners_unknown", level="warning", files=1)


@pytest.mark.parametrize("suffixes", [SUFFIXES, ("",)])
def test_a_ledger_that_is_removed_is_written_again(
    daemon: Daemons, suffixes: Sequence[str]
) -> None:
    host = daemon()
    check_serves(host)
    for suffix in suffixes:
        Path(f"{ledger_of(host)}{suffix}").unlink(missing_ok=True)  # not each has shared memory
    check_serves(host)
    assert host.wait_for("ledger.restored", level="warning", path=str(ledger_of(host)))
    assert files_by_user(host) == {"127.0.0.1": 2}
    assert host.at_rest()
    host.kill()
    host.start()
    assert not host.find("ledger.owners_unknown")
    assert files_by_user(host) == {"127.0.0.1": 2}


def test_a_ledger_that_is_replaced_fails_uploads_until_a_restart(daemon: Daemons) -> None:
    host = daemon()
    check_serves(host)
    backup = host.folder / "backup"
    copy_in_use(str(ledger_of(host)), str(backup))
    with closing(sqlite3.connect(backup)) as copy:  # copies its log into it
        copy.execute("PRAGMA locking_mode = EXCLUSIVE")
        copy.execute("PRAGMA journal_mode = TRUNCATE")
    check_serves(host)
    backup.rename(ledger_of(host))
    data = some_bytes(1000)
    outcome = JavaScriptClient(host.url, data, claim=HashClaim.of(data, "sha1")).run()
    assert outcome.code == "storage_failed"
    failed = host.wait_for("upload.failed", code="storage_failed")
    assert "restart galileod" in failed["reason"]
    assert host.stop() == 0
    host.start()
    assert files_by_user(host) == {"127.0.0.1": 1, "": 1}
    check_serves(host)
