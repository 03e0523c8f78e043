"""Standard output and error of galileod that are closed, full, or without a reader."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.daemon import DEADLINE, GALILEOD, Daemon, environment, poll, run_galileod

FULL = b"galileod: standard output cannot be written: No space left on device\n"
PRINTING = ["--help", "--version", "check-config", "usage", "token list", "token add user"]
"""Commands that succeed, and print nothing on standard error."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration, and what a daemon has left there."""
    folder = tmp_path_factory.mktemp("cli")
    auth = {"tokens_file": str(folder / "tokens"), "mode": "token"}
    with Daemon(folder, {"auth": auth}) as daemon:
        assert run_galileod("token", "add", "anna", "--config", daemon.config).returncode == 0
        daemon.start().stop()
    return folder


@pytest.fixture
def no_reader() -> Iterator[int]:
    """The descriptor of a pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(folder: Path, command: str, redirections: str = "", stdout: int = subprocess.DEVNULL) -> (
    "subprocess.CompletedProcess[bytes]"
):  # fmt: skip
    return subprocess.run(
        ["sh", "-c", f'exec "$0" {command} {redirections}', GALILEOD],
        cwd=folder, stdout=stdout, stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
        env=environment({"GALILEOD_CONFIG": str(folder / "galileod.toml")}),
    )  # fmt: skip


@pytest.mark.parametrize("command", PRINTING)
def test_a_reader_that_is_gone_gives_the_status_of_other_programs(
    folder: Path, no_reader: int, command: str
) -> None:
    done = run(folder, command, stdout=no_reader)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_is_one_line_and_status_1(folder: Path, command: str) -> None:
    done = run(folder, command, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, FULL)


def test_a_command_completes_its_work_though_it_cannot_print(
    folder: Path, tmp_path: Path, no_reader: int
) -> None:
    run(folder, f"install-service --root {tmp_path}/a")
    run(folder, f"install-service --root {tmp_path}/b", stdout=no_reader)
    installed = [
        {path.relative_to(tmp_path / root) for path in (tmp_path / root).rglob("*")}
        for root in ("a", "b")
    ]
    assert installed[0] == installed[1] != set()


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize(
    ("command", "status"), [("--nonsense", 2), ("check-config --config gone", 2), ("reload", 1)]
)
def test_the_status_is_right_though_the_error_cannot_be_written(
    folder: Path, command: str, status: int, stderr: str
) -> None:
    assert run(folder, command, stderr).returncode == status


def test_a_daemon_without_standard_streams_uses_their_descriptors_for_nothing_else(
    tmp_path: Path,
) -> None:
    program = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', GALILEOD)
    unix = tmp_path / "socket"
    settings = {"server": {"listen": [f"unix:{unix}"]}}
    with Daemon(tmp_path, settings, program=program) as daemon:
        daemon.spawn()
        poll("the socket", lambda: unix.exists() or not daemon.running)
        for descriptor in range(3):
            assert os.readlink(f"/proc/{daemon.pid}/fd/{descriptor}") == "/dev/null"
        assert daemon.stop() == 0
