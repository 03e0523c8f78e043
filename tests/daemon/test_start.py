"""What systemd and the log hear while a start takes long, in simulated time."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.daemon.start import Progress, report_progress
from galileod.daemon.systemd import Manager

EXTEND = "EXTEND_TIMEOUT_USEC=30000000"


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """What came to the socket `notify` since the last call."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)

        def receive() -> list[str]:
            received = []
            while True:
                try:
                    received += listening.recv(4096).decode().split("\n")
                except BlockingIOError:
                    return received

        yield receive


async def report(tmp_path: Path, progress: Progress, work: Callable[[], object]) -> None:
    """Report for 30 seconds, in each of which `work` is called."""
    manager = Manager(notify_socket=str(tmp_path / "notify"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_progress, progress, manager)
        await trio.sleep(0.5)
        for _ in range(30):
            await trio.sleep(1)
            work()
        nursery.cancel_scope.cancel()


async def test_the_timeout_is_extended_each_second_while_files_are_found(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock
) -> None:
    progress, received = Progress(phase="listing the directory"), list[str]()

    def find() -> None:
        progress.files += 7
        received.extend(heard())

    with capture_logs() as logs:
        await report(tmp_path, progress, find)
    assert received.count(EXTEND) == 30
    assert received[1] == "STATUS=Starting: listing the directory"
    assert received[-1] == "STATUS=Starting: listing the directory, 203 files found"
    assert [(line["event"], line["files"]) for line in logs] == [
        ("server.starting", 63), ("server.starting", 133), ("server.starting", 203),
    ]  # fmt: skip


@pytest.mark.parametrize("phase", ["checking the ledger", "updating the ledger"])
async def test_work_on_the_ledger_is_progress_too(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock, phase: str
) -> None:
    progress, received = Progress(phase), list[str]()

    def work() -> None:
        progress.steps += 1
        received.extend(heard())

    await report(tmp_path, progress, work)
    assert received.count(EXTEND) == 30
    assert f"STATUS=Starting: {phase}" in received


async def test_a_disk_that_hangs_runs_into_the_timeout(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock
) -> None:
    with capture_logs() as logs:
        await report(tmp_path, Progress(), lambda: None)
    assert heard() == [EXTEND, "STATUS=Starting: opening the directory"]
    assert logs == []


async def test_a_short_start_says_nothing(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock
) -> None:
    manager = Manager(notify_socket=str(tmp_path / "notify"))
    with trio.move_on_after(0.9), capture_logs() as logs:
        await report_progress(Progress(), manager)
    assert not heard()
    assert not logs


async def test_a_step_ends_the_thread_of_a_cancelled_task() -> None:
    progress = Progress()
    with trio.move_on_after(1) as scope:

        def work() -> None:
            progress.step()
            progress.found(1)
            trio.from_thread.run_sync(scope.cancel)
            progress.found(101)
            with pytest.raises(trio.Cancelled):
                progress.found(200)
            progress.step()

        await trio.to_thread.run_sync(work)
    assert scope.cancelled_caught
    assert (progress.steps, progress.files) == (1, 101)
