"""The control socket as a file: where it is, for whom, and that it goes away."""

import os
import socket
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from galileod.daemon.control import CHECK_SECONDS, serve_control_socket
from galileod.storage.errors import StorageError
from galileod.storage.state import control_path

pytestmark = pytest.mark.timeout(20)


async def nothing() -> None:
    """The store finds nothing wrong."""


async def hello(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(b"hello")


def prepared(folder: Path, name: str = "files") -> Path:
    """A storage directory as the store makes it."""
    directory = folder / name
    (directory / ".galileod").mkdir(mode=0o700, parents=True)
    return directory


def is_there(path: Path) -> bool:
    return os.path.lexists(path)


def remove(path: str) -> None:
    os.unlink(path)


def test_the_path_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert control_path("files") == f"{tmp_path}/files/.galileod/control.sock"


@pytest.mark.parametrize("name", ["files", "x" * 150])
@pytest.mark.parametrize("left", ["nothing", "a stale socket"])
async def test_it_is_for_its_user_alone_and_goes_away(tmp_path: Path, name: str, left: str) -> None:
    directory = prepared(tmp_path, name)
    path = directory / ".galileod" / "control.sock"
    if left == "a stale socket":
        descriptor = os.open(path.parent, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f"/proc/self/fd/{descriptor}/control.sock")
        os.close(descriptor)
        assert path.is_socket()
    before = os.umask(0)
    os.umask(before)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        descriptor = os.open(path.parent, os.O_PATH)
        stream = await trio.open_unix_socket(f"/proc/self/fd/{descriptor}/control.sock")
        os.close(descriptor)
        assert await stream.receive_some() == b"hello"
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert not is_there(path)
    assert os.umask(before) == before  # and not that of the socket


async def test_where_there_can_be_none_the_daemon_goes_on(tmp_path: Path) -> None:
    directory = prepared(tmp_path)
    path = directory / ".galileod" / "control.sock"
    path.write_text("in the way")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("control.unavailable", "warning")
    assert line["path"] == str(path)
    assert path.read_text() == "in the way"


async def test_one_that_was_removed_meanwhile_is_told(tmp_path: Path) -> None:
    directory = prepared(tmp_path)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
            remove(control_path(str(directory)))
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in logs] == ["server.leftover"]


async def test_a_socket_of_another_daemon_stays(tmp_path: Path) -> None:
    # The directory was moved away, and another one is in its place.
    directory = prepared(tmp_path)
    path = Path(control_path(str(directory)))
    with capture_logs() as logs, socket.socket(socket.AF_UNIX) as other:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
            directory.rename(tmp_path / "moved")
            prepared(tmp_path)
            other.bind(str(path))
            nursery.cancel_scope.cancel()
        assert is_there(path)
    assert logs == []


async def test_a_socket_that_replaced_it_in_place_stays(tmp_path: Path) -> None:
    directory = prepared(tmp_path)
    path = Path(control_path(str(directory)))
    with socket.socket(socket.AF_UNIX) as other:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
            remove(str(path))
            other.bind(str(path))
            nursery.cancel_scope.cancel()
        assert is_there(path)


async def true_of(probe: Callable[[], object]) -> object:
    return probe()


async def greeting(path: Path) -> bytes:
    """What the control socket sends; empty if none is served."""
    try:
        stream = await trio.open_unix_socket(path)
    except OSError:
        return b""
    async with stream:
        return bytes(await stream.receive_some())


async def until(probe: Callable[[], Awaitable[object]]) -> None:
    """Wait until it is true. The clock jumps over the waits, also while a thread is at work."""
    while not await probe():  # noqa: ASYNC110  it is another task that makes it true
        await trio.sleep(CHECK_SECONDS)


@pytest.mark.parametrize("removed", ["socket", "directory"])
async def test_one_that_was_removed_is_created_again(
    run_folder: Path, autojump_clock: trio.testing.MockClock, removed: str
) -> None:
    failures = [StorageError("the directory is another one")] * (removed == "directory")

    async def check() -> None:
        path.parent.mkdir(exist_ok=True)
        if failures:
            raise failures.pop()

    directory = prepared(run_folder)
    path = directory / ".galileod" / "control.sock"
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, check)
            remove(str(path))
            if removed == "directory":
                path.parent.rmdir()
            await until(partial(greeting, path))
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            nursery.cancel_scope.cancel()
    assert not is_there(path)
    events = [line["event"] for line in logs]
    assert events == [*["control.unavailable"] * (removed == "directory"), "control.restored"]


async def test_a_connection_outlives_the_file(
    run_folder: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def hello_later(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await hello(stream)

    directory = prepared(run_folder)
    path = directory / ".galileod" / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(
            serve_control_socket, control_path(str(directory)), hello_later, nothing
        )
        async with await trio.open_unix_socket(path) as stream:
            remove(str(path))
            await until(partial(true_of, lambda: is_there(path)))
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


async def test_the_socket_of_a_later_daemon_stays_as_it_is(
    run_folder: Path, autojump_clock: trio.testing.MockClock
) -> None:
    directory = prepared(run_folder)
    path = directory / ".galileod" / "control.sock"
    with socket.socket(socket.AF_UNIX) as other, capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control_socket, control_path(str(directory)), hello, nothing)
            remove(str(path))
            other.bind(str(path))  # it does not listen yet
            theirs = path.lstat().st_ino
            await trio.sleep(10 * CHECK_SECONDS)
            assert path.lstat().st_ino == theirs
            remove(str(path))  # it has ended
            await until(partial(greeting, path))
            nursery.cancel_scope.cancel()
    assert not is_there(path)
    assert logs[-1]["event"] == "control.restored"
