"""What systemd and the log hear while a start takes long, in simulated time."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.daemon.progress import Progress, report_progress
from galileod.daemon.systemd import Manager
from galileod.storage.errors import StorageBusyError, StorageError, UnavailableError

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
    progress, received = Progress(phase=phase), list[str]()

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


async def test_a_start_that_waits_says_so_each_minute_and_has_all_the_time(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock
) -> None:
    progress, manager = Progress(remote=True), Manager(notify_socket=str(tmp_path / "notify"))
    progress.phase = "opening the bucket"
    received, times = list[str](), list[float]()

    async def receive() -> None:
        while True:  # a socket keeps ten messages
            await trio.sleep(1)
            received.extend(heard())

    async def fail() -> None:
        times.append(trio.current_time())
        if len(times) < 12:
            raise UnavailableError("the storage is away", " (at https://s3.example.org)")

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_progress, progress, manager)
            await trio.sleep(0.5)
            nursery.start_soon(receive)
            await progress.insist(fail)
            assert progress == Progress(remote=True, phase="opening the bucket")
            nursery.cancel_scope.cancel()
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses == pytest.approx([1, 2, 4, 8, *[15] * 7])
    reason = "the storage is away (at https://s3.example.org)"
    assert int(sum(pauses)) - received.count(EXTEND) in (0, 1)  # the last may not be read yet
    assert received[-1] == f"STATUS=Starting: opening the bucket, waiting: {reason}"
    lines = [(line["event"], line["log_level"], line["reason"]) for line in logs]
    assert lines == [("server.waiting", "warning", reason)] * 2


async def test_an_answer_of_remote_storage_is_waited_for_without_a_word(
    heard: Callable[[], list[str]], tmp_path: Path, autojump_clock: MockClock
) -> None:
    progress, manager = Progress(remote=True), Manager(notify_socket=str(tmp_path / "notify"))
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_progress, progress, manager)
            await progress.insist(partial(trio.sleep, 9.5))
            nursery.cancel_scope.cancel()
    assert heard().count(EXTEND) == 9
    assert logs == []


async def test_what_does_not_pass_ends_the_start_at_once(autojump_clock: MockClock) -> None:
    progress, tries = Progress(remote=True), list[StorageError]()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise tries.pop()

    for error, once in ((StorageError("denied"), False), (StorageBusyError("busy"), True)):
        tries.append(error)
        with pytest.raises(type(error), match=error.reason):
            await progress.insist(fail, once=once)


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
