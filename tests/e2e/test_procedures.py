"""The procedures in docs/operations.md: what they show as commands does what they say."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve
from helpers.clients import some_bytes
from helpers.credentials import Office
from helpers.daemon import DEADLINE, GALILEOD, free_port
from helpers.resuming import ResumingClient

from galileod.client import send_file_sync

OPERATIONS: Final = Path(__file__).parents[2] / "docs" / "operations.md"
PATHS: Final = re.compile(
    r"(?<![\w/])(/var/backups/galileod|/var/lib/galileod|/srv/uploads|/tmp/restored|/etc)\b"
)
OWNER: Final = " -o galileod -g galileod"

pytestmark = pytest.mark.skipif(
    not (shutil.which("rsync") and shutil.which("sqlite3")), reason="needs rsync and sqlite3"
)


class Machine:
    """A service with a token for anna, and paths in a folder in place of those of the document."""

    def __init__(self, folder: Path) -> None:
        self.office = Office(folder / "etc", "token")
        self.host = self.office.host
        self.tokens = self.host.folder / "galileod.tokens"
        settings = self.host.config.read_text()
        self.host.config.write_text(
            settings.replace(f'{self.host.folder}/tokens"', f'{self.tokens}"')
        )
        self.token = self.office.token("anna")
        self.backup = folder / "backup"
        self.moved = folder / "moved"
        self.restored = folder / "restored"
        self._paths = {
            "/var/backups/galileod": self.backup,
            "/var/lib/galileod": self.host.directory,
            "/srv/uploads": self.moved,
            "/tmp/restored": self.restored,  # noqa: S108
            "/etc": self.host.folder,
        }

    def send(self, name: str, data: bytes) -> None:
        send_file_sync(self.host.url, data, name=name, token=self.token)

    def perform(self, procedure: str) -> str:
        """Run its commands, one by one; returns what they print."""
        said = ""
        for line in commands_of(procedure):
            if line.startswith("systemctl "):
                self._control(line.split()[1])
            else:
                said += self._run(line)
        return said

    def _control(self, what: str) -> None:
        action: dict[str, Callable[[], object]] = {"stop": self.host.stop, "start": self.host.start}
        action[what]()

    def _run(self, line: str) -> str:
        line = PATHS.sub(lambda match: str(self._paths[match[0]]), line.replace(OWNER, ""))
        line = re.sub(r"\bgalileod (?=serve|usage)", f"{GALILEOD} ", line)
        line = line.replace("8751", str(free_port()))
        done = subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        # timeout(1) has its own status for a command that it has ended.
        assert done.returncode == (124 if line.startswith("timeout ") else 0), (line, done.stderr)
        return done.stdout


def commands_of(procedure: str) -> list[str]:
    pattern = rf"<!-- procedure: {procedure} -->\n```console\n(.*?)```"
    (block,) = re.findall(pattern, OPERATIONS.read_text(), re.DOTALL)
    lines = block.splitlines()
    assert lines
    assert all(line.startswith("# ") for line in lines), lines
    return [line.removeprefix("# ") for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".galileod"
    }


def test_a_backup_of_a_running_daemon_brings_files_owners_and_tokens_back(machine: Machine) -> None:
    with machine.host:
        machine.host.start()
        machine.send("first", b"1")
        machine.perform("backup")
        before = machine.office.run("usage", "--json")
        machine.send("second", b"22")
        for path in machine.host.directory.iterdir():  # what the backup is for
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        machine.tokens.write_text("")
        machine.perform("restore")
        assert contents(machine.host.directory) == {"first": b"1"}
        assert machine.office.run("usage", "--json") == before
        machine.send("third", b"333")  # with the token that was made before


def test_an_upload_that_the_backup_lacks_is_not_called_stored_after_a_restore(
    machine: Machine,
) -> None:
    data = some_bytes(1_100_000)
    with machine.host:
        machine.host.start()
        machine.send("first", b"1")
        machine.perform("backup")
        client = ResumingClient(machine.host.url, data, more={"token": machine.token})
        with client.attempt() as attempt:
            assert attempt.finish()["close"] is True
        (machine.host.directory / client.name).unlink()
        machine.perform("restore")
        with evolve(client, url=machine.host.url).attempt() as attempt:
            assert attempt.first["offset"] == 0
            assert attempt.finish()["close"] is True
        assert contents(machine.host.directory)[client.name] == data


def test_a_backup_can_be_checked_beside_the_daemon(machine: Machine) -> None:
    with machine.host:
        machine.host.start()
        machine.send("first", b"1")
        machine.perform("backup")
        said = machine.perform("check")
        assert "anna" in said
        assert contents(machine.restored) == {"first": b"1"}


def test_a_moved_directory_keeps_files_owners_and_interrupted_uploads(machine: Machine) -> None:
    data = some_bytes(3_000_000)
    with machine.host:
        machine.host.start()
        machine.send("first", b"1")
        client = ResumingClient(machine.host.url, data, more={"token": machine.token})
        with client.attempt() as attempt:
            attempt.send(2_000_000)
            attempt.cut()
        machine.host.wait_for("upload.kept", name=client.name)
        before = machine.office.run("usage", "--json")
        machine.perform("move")
        shutil.rmtree(machine.host.directory)
        assert machine.office.run("usage", "--json") == before
        with evolve(client, url=machine.host.url).attempt() as attempt:
            assert attempt.first["offset"] == 2_000_000
            assert attempt.finish()["close"] is True
        assert contents(machine.moved) == {"first": b"1", client.name: data}
