"""A start that takes long: it is reported, and SIGTERM ends it."""

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import check_serves
from helpers.daemon import Daemon
from helpers.notified import hear, listening_at

FILES: Final = 2000

ENDLESS: Final = """
import os, sys
from galileod.cli.main import main
from galileod.daemon import progress
from galileod.storage.local import scan
progress.REPORT_SECONDS = progress.LOG_SECONDS = 0.02
files_below = scan.files_below

def endless(fd, prefix, depth):
    # Lists the files again and again, as if there were more.
    while True:
        yield from files_below(fd, prefix, depth)
        if os.path.exists("go"):
            return

scan.files_below = endless
main()
"""
"""A galileod whose directory has no end before the file "go" exists."""


@pytest.fixture
def listening(run_folder: Path) -> Iterator[socket.socket]:
    with listening_at(run_folder / "notify") as sock:
        yield sock


@pytest.fixture
def host(tmp_path: Path, run_folder: Path) -> Iterator[Daemon]:
    """One with many files; its start ends once there is a file "go"."""
    daemon = Daemon(
        tmp_path / "daemon",
        program=(sys.executable, "-c", ENDLESS),
        environ={"NOTIFY_SOCKET": str(run_folder / "notify")},
    )
    daemon.directory.mkdir()
    for number in range(FILES):
        (daemon.directory / str(number)).touch()
    with daemon:
        yield daemon


def more_files(line: str) -> bool:
    _, found, rest = line.partition("STATUS=Starting: listing the directory, ")
    return bool(found) and int(rest.split()[0]) > FILES


def test_the_time_is_extended_and_the_progress_told(host: Daemon, listening: socket.socket) -> None:
    host.spawn()
    heard = hear(listening, more_files)
    assert "EXTEND_TIMEOUT_USEC=30000000" in heard
    assert "READY=1" not in heard
    host.wait_for("server.starting", phase="listing the directory")
    (host.folder / "go").touch()
    hear(listening, lambda line: line == "READY=1")
    host.listen = host.wait_for("server.started")["listen"]
    check_serves(host)


def test_a_signal_ends_the_start_and_the_next_one_works(
    host: Daemon, listening: socket.socket
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        host.spawn()
        hear(listening, more_files)
        host.send_signal(number)
        heard = hear(listening, lambda line: line == "STATUS=Stopped")
        assert "STOPPING=1" in heard
        assert "READY=1" not in heard
        assert host.wait() == 0
        assert host.wait_for("server.stopped")
        assert not host.find("server.started")
        host.check_log()
    (host.folder / "go").touch()
    host.start()
    assert host.wait_for("ledger.owners_unknown", files=FILES)
    check_serves(host)
    assert host.stop() == 0
