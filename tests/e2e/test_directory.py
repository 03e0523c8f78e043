"""The directory changes under a running daemon: moved, removed, mounted over, swept."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import (
    JavaScriptClient,
    Reply,
    ask,
    check_serves,
    expect_fault,
    expect_ready,
    open_websocket,
    say,
)
from helpers.daemon import Daemon, poll, run_galileod
from helpers.mounts import tmpfs, unmount
from websockets.sync.client import ClientConnection

SIZE: Final = 600_000
WEEKS: Final = 30 * 86400
OPERATIONS: Final = Path(__file__).parents[2] / "docs/operations.md"


class Troubled(Daemon):
    """A daemon whose log may have errors about its directory, and no others."""

    def check_log(self) -> None:
        wrong = [
            line
            for line in self.log()
            if line["level"] in ("error", "critical")
            and (line["event"], line.get("code"))
            not in {("storage.directory_changed", None), ("upload.failed", "storage_failed")}
        ]
        assert not wrong, wrong


@contextmanager
def half_an_upload(host: Daemon, name: str) -> Iterator[ClientConnection]:
    with open_websocket(host.url) as websocket:
        say(websocket, name=name, size=SIZE)
        expect_ready(websocket)
        websocket.send(bytes(SIZE // 2))
        expect_ready(websocket)
        spool = host.directory / ".galileod/spool"
        poll(
            "half a file", lambda: [path.stat().st_size for path in spool.iterdir()] == [SIZE // 2]
        )
        yield websocket


def finish(websocket: ClientConnection) -> None:
    websocket.send(bytes(SIZE - SIZE // 2))
    say(websocket, finished=True)


def expect_refusal(host: Daemon) -> str:
    """Begin an upload, which must fail; gives the sentence."""
    with open_websocket(host.url) as websocket:
        say(websocket, name="refused", size=SIZE)
        return str(expect_fault(websocket, "storage_failed")["error"])


def health(host: Daemon) -> Reply:
    return ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")


def events(host: Daemon, prefix: str) -> list[str]:
    return [line["event"] for line in host.log() if line["event"].startswith(prefix)]


@contextmanager
def mounted_over(directory: Path) -> Iterator[None]:
    with tmpfs(directory):
        yield


@contextmanager
def moved_and_made_anew(directory: Path) -> Iterator[None]:
    with moved_away(directory):
        directory.mkdir()
        yield
        directory.rmdir()


@contextmanager
def moved_away(directory: Path) -> Iterator[None]:
    aside = directory.with_name("aside")
    directory.rename(aside)
    yield
    aside.rename(directory)


@contextmanager
def parent_moved_away(directory: Path) -> Iterator[None]:
    with moved_away(directory.parent):
        yield


@contextmanager
def behind_another_link(directory: Path) -> Iterator[None]:
    """`directory` is a symbolic link."""
    other = directory.with_name("other")
    other.mkdir()
    target = directory.readlink()
    switch(directory, other)
    yield
    switch(directory, target)


def switch(link: Path, target: Path) -> None:
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


CHANGES: Final[dict[str, Callable[[Path], AbstractContextManager[None]]]] = {
    "mounted over": mounted_over,
    "moved and made anew": moved_and_made_anew,
    "moved away": moved_away,
    "parent moved away": parent_moved_away,
    "behind another link": behind_another_link,
}


def storing_in(folder: Path, *, linked: bool = False) -> Troubled:
    directory = folder / "parent/files"
    directory.parent.mkdir(parents=True)
    if linked:
        (directory.parent / "target").mkdir()
        directory.symlink_to(directory.parent / "target")
    return Troubled(folder / "daemon", {"storage": {"directory": str(directory)}})


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_confirmed_while_another_directory_is_at_the_path(
    tmp_path: Path, change: str
) -> None:
    with storing_in(tmp_path, linked="link" in change) as host:
        host.start()
        check_serves(host)
        with half_an_upload(host, "running") as running, CHANGES[change](host.directory):
            finish(running)
            fault = expect_fault(running, "storage_failed")
            for sentence in (
                str(fault["error"]),
                expect_refusal(host),
                health(host).body.decode(),
            ):
                assert "storage.directory" in sentence
                assert "restart galileod" in sentence
            assert health(host).status == 503
            assert not host.directory.exists() or not os.listdir(host.directory)
            assert host.running
        assert health(host).status == 200
        assert "running" not in host.visible()
        assert not host.spooled()
        check_serves(host)
        host.wait_for("storage.directory_restored")  # a thread writes the log
        told = [event for event in events(host, "storage.") if event != "storage.leftover"]
        assert told == ["storage.directory_changed", "storage.directory_restored"]
        changed = host.find("storage.directory_changed")
        assert changed
        assert changed["path"] == str(host.directory)
        assert host.stop() == 0


def test_nothing_is_confirmed_after_the_filesystem_was_detached(tmp_path: Path) -> None:
    with ExitStack() as mounts, storing_in(tmp_path) as host:
        host.directory.mkdir()
        mounts.enter_context(tmpfs(host.directory))
        host.start()
        check_serves(host)
        with half_an_upload(host, "running") as running:
            unmount(host.directory)
            finish(running)
            expect_fault(running, "storage_failed")
        assert health(host).status == 503
        expect_refusal(host)
        assert not os.listdir(host.directory)
        # Another directory, and so another daemon: the restart of the service.
        host.stop()
        host.start()
        check_serves(host)
        assert health(host).status == 200


def age(directory: Path) -> None:
    """Let everything in the state directory, and itself, look a month old."""
    old = time.time() - WEEKS
    state = directory / ".galileod"
    for path in [*state.rglob("*"), state]:
        os.utime(path, (old, old), follow_symlinks=False)


def sweep(directory: Path) -> None:
    age(directory)
    subprocess.run(["find", directory, "-mtime", "+7", "-delete"], check=True)


def second_start(host: Daemon) -> str:
    """Start another daemon on the directory, which must be refused; gives what it says."""
    ended = run_galileod("--listen", "127.0.0.1:0", "--directory", host.directory)
    assert ended.returncode == 1, ended.stderr
    return ended.stderr


def test_a_state_directory_that_was_swept_away_is_made_anew(tmp_path: Path) -> None:
    with storing_in(tmp_path) as host:
        host.start()
        check_serves(host)
        with half_an_upload(host, "running") as running:
            sweep(host.directory)
            assert not (host.directory / ".galileod").exists()
            said = second_start(host)
            assert "another galileod uses" in said
            assert "; stop it, or set another storage.directory" in said
            finish(running)
            said = str(expect_fault(running, "storage_failed")["error"])
            assert "spool" in said
        assert "running" not in host.visible()
        poll("health", lambda: health(host).status == 200, host.text)
        modes = {
            name: (host.directory / name).stat().st_mode & 0o7777
            for name in (".galileod", ".galileod/spool", ".galileod/lock")
        }
        assert modes == {".galileod": 0o700, ".galileod/spool": 0o700, ".galileod/lock": 0o600}
        assert "another galileod" in second_start(host)
        check_serves(host)
        sweep(host.directory)
        check_serves(host)
        assert host.stop() == 0
        assert events(host, "storage.") == ["storage.state_restored"] * 6
        host.start()
        check_serves(host)
        assert host.stop() == 0


def documented(program: str) -> list[str]:
    """The command of `program` in the manual."""
    found = re.search(rf"^# ({program} .*)$", OPERATIONS.read_text(), re.MULTILINE)
    assert found, program
    return shlex.split(found[1])


def test_the_command_of_the_manual_removes_old_files_and_leaves_the_daemon_alone(
    tmp_path: Path,
) -> None:
    with storing_in(tmp_path) as host:
        host.start()
        old = time.time() - WEEKS
        for name in ("old", "new"):
            assert JavaScriptClient(host.url, b"data", name=name).run().ending == "stored"
        os.utime(host.directory / "old", (old, old))
        age(host.directory)
        before = sorted(path.name for path in (host.directory / ".galileod").iterdir())
        command = documented("find")
        directory = "/var/lib/galileod"
        assert directory in command
        place = command.index(directory)
        command[place] = str(host.directory)
        subprocess.run(command, check=True)
        assert set(host.visible()) == {"new"}
        assert sorted(path.name for path in (host.directory / ".galileod").iterdir()) == before
        check_serves(host)
        assert not host.find("storage.state_restored")
