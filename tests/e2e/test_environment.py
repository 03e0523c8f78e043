"""What galileod inherits from its caller does not change what it does."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from helpers.clients import check_serves
from helpers.daemon import GALILEOD, Daemon, poll, run_galileod

IGNORING = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program that inherits ignored and blocked signals."""

CLOSED = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', GALILEOD)


def test_a_hook_that_fails_is_not_taken_for_one_that_succeeded(tmp_path: Path) -> None:
    program = (sys.executable, "-c", IGNORING, GALILEOD)
    with Daemon(tmp_path, {"hooks": {"stored": ["false"]}}, program=program) as host:
        check_serves(host.start())
        assert host.wait_for("hook.retry")["reason"] == "the command ended with status 1"
        assert host.stop() == 0


def test_closed_standard_streams_get_no_socket_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = {"server": {"listen": [f"unix:{path}"]}}
    with Daemon(tmp_path, server, program=CLOSED) as host:
        host.spawn()
        poll("the socket", path.exists)
        assert [os.readlink(f"/proc/{host.pid}/fd/{number}") for number in range(3)] == [
            os.devnull
        ] * 3
        poll("that it listens", lambda: listens(path))
        assert host.stop() == 0


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONDEVMODE": "1", "PYTHONWARNDEFAULTENCODING": "1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"TZ": "Pacific/Kiritimati"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_variables_of_python_change_nothing(tmp_path: Path, variables: dict[str, str]) -> None:
    with Daemon(tmp_path / "Ω", environ=variables) as host:
        check_serves(host.start())
        host.send_signal(signal.SIGHUP)
        host.wait_for("config.reloaded")
        checked = run_galileod("check-config", "--config", host.config, environ=variables)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert host.stop() == 0
        assert all(line["level"] == "info" for line in host.log())
