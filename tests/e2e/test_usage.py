"""`galileod usage`: the running daemon is asked, and without one the file is read."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from helpers.clients import check_serves
from helpers.daemon import DEADLINE, Daemon, Daemons, run_galileod

MANY = 100_000

LISTENING = """
import socket, sys
from galileod.net.unixsocket import short_path
with socket.socket(socket.AF_UNIX) as listening, short_path(sys.argv[1]) as path:
    listening.bind(path)
    listening.listen()
    print(flush=True)
    connection, _ = listening.accept()
    connection.recv(4096)
    connection.sendall(sys.argv[2].encode())
    connection.close()
"""
"""A daemon that sends this response."""


def usage(host: Daemon, *flags: str) -> "subprocess.CompletedProcess[str]":
    return run_galileod("usage", "--config", host.config, *flags)


def check_failed(said: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("galileod: ")
    assert said.stderr.count("\n") == 1
    for word in words:
        assert word in said.stderr


def state_of(host: Daemon) -> Path:
    return host.directory / ".galileod"


def test_it_is_the_same_with_and_without_a_daemon(daemon: Daemons) -> None:
    host = daemon()
    check_serves(host)
    running = [usage(host), usage(host, "--json")]
    assert host.stop() == 0
    stopped = [usage(host), usage(host, "--json")]
    for one, other in zip(running, stopped, strict=True):
        assert (one.returncode, one.stderr) == (other.returncode, other.stderr) == (0, "")
        assert one.stdout == other.stdout
    (row,) = json.loads(running[1].stdout)["users"]
    assert list(row) == [
        "user", "bytes", "files", "reserved", "uploads", "kept", "kept_uploads",
    ]  # fmt: skip


def test_a_running_daemon_is_asked(daemon: Daemons) -> None:
    host = daemon()
    check_serves(host)
    state_of(host).joinpath("ledger.sqlite3").unlink()
    said = usage(host, "--json")
    assert [user["files"] for user in json.loads(said.stdout)["users"]] == [1]
    assert host.wait_for("ledger.restored")


def reserve_many(host: Daemon) -> None:
    rows = ((f"user-{number:06}", f"upload-{number}") for number in range(MANY))
    with closing(sqlite3.connect(state_of(host) / "ledger.sqlite3", timeout=DEADLINE)) as ledger:
        ledger.executemany("INSERT INTO uploads (user, upload, bytes) VALUES (?, ?, 1)", rows)
        ledger.commit()


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory on tmpfs: the ledger in it may be changed beside the daemon."""
    with TemporaryDirectory(prefix="galileod-", dir="/dev/shm") as path:
        yield path


def test_a_hundred_thousand_users_are_told(daemon: Daemons, directory: str) -> None:
    host = daemon({"storage": {"directory": directory, "min_free": 0}})
    assert host.stop() == 0
    reserve_many(host)
    read = usage(host, "--json")
    assert len(json.loads(read.stdout)["users"]) == MANY
    host.start()  # drops all reservations
    reserve_many(host)
    asked = usage(host, "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout == read.stdout


def test_an_error_of_the_ledger_is_one_line(daemon: Daemons) -> None:
    host = daemon()
    check_serves(host)
    ledger = state_of(host) / "ledger.sqlite3"
    replaced = ledger.with_name("replaced")
    replaced.touch()
    replaced.rename(ledger)
    check_failed(usage(host), str(ledger), "replaced by another file", "restart galileod")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", "closed the connection"),
        ("HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\nNo", "responded with status 404: No"),
        ("HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\nnot json", "cannot be understood"),
        ("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{}", "closed the connection"),
    ],
)
def test_a_response_that_is_of_no_use_is_one_line(daemon: Daemons, reply: str, words: str) -> None:
    host = daemon(start=False)
    state_of(host).mkdir(parents=True)
    socket = state_of(host) / "control.sock"
    program: list[str | Path] = [sys.executable, "-c", LISTENING, socket, reply]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as listening:
        assert listening.stdout is not None
        listening.stdout.readline()
        check_failed(usage(host), words)
        listening.wait(DEADLINE)
