"""`galileo-send` with many files on few connections."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from client.next_server import Act, NextServer
from helpers.daemon import DEADLINE, Daemon, poll
from helpers.sending import GALILEO_SEND, Command, objects

from galileod.protocol.errors import FaultCode


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Small files, and a larger one in their middle."""
    folder = tmp_path / "files"
    folder.mkdir()
    found = [folder / f"{number:03}.bin" for number in range(120)]
    for number, path in enumerate(found):
        path.write_bytes(os.urandom(3000 if number == 60 else number))
    return found


def check_stored(server: NextServer, paths: list[Path]) -> None:
    assert sorted(server.stored) == sorted((path.name, path.read_bytes()) for path in paths)


def test_each_file_is_reported_and_stored(command: Command, paths: list[Path]) -> None:
    with NextServer() as server:
        status, out, err = command("--parallel", "1", server.url, *paths)
    assert status == 0, err
    check_stored(server, paths)
    assert len(server.files) == 1
    lines = out.splitlines()
    assert sorted(line.split()[1] for line in lines) == sorted(map(str, paths))
    assert err.startswith("120 of 120 files stored (")


def test_galileod_stores_them(server: Daemon, command: Command, paths: list[Path]) -> None:
    status, _, err = command(server.url, *paths)
    assert status == 0, err
    for path in paths:
        assert (server.directory / path.name).read_bytes() == path.read_bytes()


def test_the_events_of_a_small_file_are_those_of_any_other(
    command: Command, paths: list[Path]
) -> None:
    with NextServer() as server:
        status, out, _ = command("--json", "--parallel", "1", server.url, *paths[:3])
    assert status == 0
    about = [line for line in objects(out) if line.get("name") == "002.bin"]
    assert [line["event"] for line in about] == ["started", "stored"]
    started, stored = about
    assert (started["size"], started["attempt"]) == (2, 1)
    assert stored["verified"] is True
    assert (stored["chunks"], stored["attempts"], stored["resumed_at"]) == (1, 1, 0)
    assert list(stored["hashes"]) == ["sha1"]


@pytest.mark.parametrize("code", [FaultCode.BUSY, FaultCode.SHUTTING_DOWN])
@pytest.mark.parametrize("at", [0, 1, 60])
def test_a_busy_server_is_asked_again(
    command: Command, paths: list[Path], code: FaultCode, at: int
) -> None:
    act = Act(refuses={paths[at].name: code}, last=at + 1)
    with NextServer(act) as server:
        flags = ("--retry-delay", "0", "--parallel", "1")
        status, _, err = command(*flags, server.url, *paths)
    assert status == 0, err
    assert f"{paths[at]}: The server refused the file: It is {code}." in err
    check_stored(server, paths)


@pytest.mark.parametrize("code", [FaultCode.IDLE, FaultCode.TOO_SLOW])
@pytest.mark.parametrize("flags", [[], ["--no-resume"]], ids=["resume", "no-resume"])
@pytest.mark.parametrize("at", [0, 1, 60])
def test_a_file_is_sent_again_after_the_machine_has_slept(
    command: Command, paths: list[Path], code: FaultCode, flags: list[str], at: int
) -> None:
    act = Act(refuses={paths[at].name: code}, last=at + 1)
    with NextServer(act) as server:
        more = ("--retry-delay", "0", "--parallel", "1")
        status, _, err = command(*flags, *more, server.url, *paths)
    assert status == 0, err
    assert f"{paths[at]}: The server refused the file: It is {code}." in err
    check_stored(server, paths)


@pytest.mark.parametrize("silent", [False, True])
def test_a_lost_connection_is_reported_for_what_is_sent_again(
    command: Command, paths: list[Path], silent: bool
) -> None:
    with NextServer(Act(lost=50, stored=True, silent=silent)) as server:
        status, out, err = command(
            "--json", "--retry-delay", "0", "--parallel", "1", server.url, *paths
        )
    assert status == 0, err
    check_stored(server, paths)
    retried = {line["name"] for line in objects(out) if line["event"] == "retry"}
    again = {line["name"] for line in objects(out) if line.get("attempt") == 2}
    stored = {line["name"]: line["attempts"] for line in objects(out) if line["event"] == "stored"}
    assert paths[50].name in retried == again
    assert {name for name, attempts in stored.items() if attempts == 2} == retried


def test_without_further_attempts_what_was_lost_has_failed(
    command: Command, paths: list[Path]
) -> None:
    with NextServer(Act(lost=50, silent=True)) as server:
        flags = ("--retries", "0", "--parallel", "1")
        status, _, err = command(*flags, server.url, *paths)
    assert status == 1
    assert f"galileo-send: {paths[50]}: The connection to the server was lost." in err or (
        f"galileo-send: {paths[50]}: The server closed the connection without a Close frame." in err
    )
    stored = {name for name, _ in server.stored}
    assert paths[0].name in stored
    assert paths[-1].name in stored


def test_an_interruption_leaves_what_is_not_stored(paths: list[Path]) -> None:
    with NextServer(Act(silent=True)) as server:
        run: list[str | Path] = [GALILEO_SEND, "--parallel", "1", server.url, *paths]
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
            poll("the files", lambda: len(server.stored) >= 60)
            sending.send_signal(signal.SIGINT)
            _, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == 130
    assert b"Interrupted: 1 of 120 files stored" in err
    unconfirmed, left = re.findall(rb"(\d+) (?:without an answer|not sent)", err)
    assert int(unconfirmed) >= len(server.stored) - 1
    assert int(unconfirmed) + int(left) == 119


def test_a_rate_limit_holds_for_small_files(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "limited"
    folder.mkdir()
    paths = [folder / str(number) for number in range(4)]
    for path in paths:
        path.write_bytes(os.urandom(900))
    with NextServer() as server:
        flags = ("--limit-rate", "1MB", "--parallel", "1")
        status, _, err = command(*flags, server.url, *paths)
    assert status == 0, err
    check_stored(server, paths)
