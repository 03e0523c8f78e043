"""`galileod usage` beside a running daemon, and without one."""

import json
import os
import shutil
from pathlib import Path

from filesystems.hosts import MakeHost, check_usage, stored
from helpers.clients import expect_ready, open_websocket, say, unique_name
from helpers.daemon import Daemon, run_galileod

from galileod.ledger.sqlite.shared_memory import supports_shared_memory

USER = "127.0.0.1"


def usage(host: Daemon) -> dict[str, tuple[int, int]]:
    """Files and uploads of each user."""
    said = run_galileod("usage", "--json", "--config", host.config)
    assert (said.returncode, said.stderr) == (0, "")
    users = json.loads(said.stdout)["users"]
    return {user["user"]: (user["files"], user["uploads"]) for user in users}


def test_it_is_told_by_the_daemon_and_by_the_file(make_host: MakeHost) -> None:
    host = make_host().start()
    stored(host, unique_name(), b"first")
    with open_websocket(host.url) as websocket:
        # Larger than `chunks.whole`: smaller ones are reserved in memory only.
        say(websocket, name=unique_name(), size=300_000)
        expect_ready(websocket)
        assert usage(host) == {USER: (1, 1)}
        host.kill()
    assert usage(host) == {USER: (1, 1)}  # until the next start
    host.start()
    check_usage(host)
    assert host.stop() == 0
    check_usage(host)


def test_it_is_told_beside_a_daemon_without_a_control_socket(make_host: MakeHost) -> None:
    host = make_host().start()
    stored(host, unique_name(), b"first")
    host.kill()
    socket = host.directory / ".galileod" / "control.sock"
    socket.unlink(missing_ok=True)  # some filesystems have no sockets
    socket.mkdir()
    host.start()
    host.wait_for("control.unavailable")
    assert usage(host) == {USER: (1, 0)}
    assert host.stop() == 0
    assert usage(host) == {USER: (1, 0)}


def test_a_copy_of_the_ledger_and_its_log_is_a_backup(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host().start()
    stored(host, unique_name(), b"first")
    ledger = host.directory / ".galileod" / "ledger.sqlite3"
    names = [ledger.name, f"{ledger.name}-wal"]
    for name in names:  # in place of a snapshot, while nothing is written
        shutil.copyfile(ledger.with_name(name), tmp_path / name)
    stored(host, unique_name(), b"second")
    assert host.stop() == 0
    for name in (*names, f"{ledger.name}-shm"):
        ledger.with_name(name).unlink(missing_ok=True)
    for name in names:
        shutil.copyfile(tmp_path / name, ledger.with_name(name))
    assert usage(host) == {USER: (1, 0)}
    host.start()
    assert usage(host) == {"": (1, 0), USER: (1, 0)}
    assert os.path.exists(f"{ledger}-shm") == supports_shared_memory(str(host.directory))
