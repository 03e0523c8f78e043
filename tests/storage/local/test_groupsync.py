"""One fsync for all who ask at the same time: never too few, never one each."""

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import pytest

from galileod.storage.local import groupsync
from galileod.storage.local.groupsync import GroupSync

pytestmark = pytest.mark.timeout(20)

WAITING = 20
"""Threads that ask while an fsync is running."""


class SlowDisk:
    """Stands in for `os`: an fsync ends when it is let go, and fails where it is told to."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.calls = 0
        self.failing: set[int] = set()

    def fsync(self, _fd: int) -> None:
        self.calls += 1
        call = self.calls
        self.began.release()
        self.let_go.acquire()
        if call in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Bound:
    """A lock that tells who comes to it."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class Group:
    """Threads that ask one GroupSync for an fsync of a slow disk."""

    def __init__(self, disk: SlowDisk, threads: ThreadPoolExecutor) -> None:
        self._door = Bound()
        self._threads = threads
        self.told: list[float] = []
        self._sync = GroupSync(0, self.told.append)
        vars(self._sync)["_syncing"] = self._door
        self.disk = disk

    def ask(self, count: int) -> list[Future[None]]:
        """So many threads ask; gives what becomes of them, once all stand in line."""
        answers = [self._threads.submit(self._sync.sync) for _ in range(count)]
        for _ in answers:
            self._door.came.acquire()
        return answers

    def ask_while_one_is_running(self, count: int) -> tuple[Future[None], list[Future[None]]]:
        """One thread whose fsync has begun, and others who asked only then."""
        (first,) = self.ask(1)
        self.disk.began.acquire()
        return first, self.ask(count)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    disk = SlowDisk()
    monkeypatch.setattr(groupsync, "os", disk)
    with ThreadPoolExecutor(WAITING + 2) as threads:
        yield Group(disk, threads)
        disk.let_go.release(1000)


def code(answer: Future[None]) -> int | None:
    error = answer.exception(timeout=20)
    assert error is None or isinstance(error, OSError)
    return error.errno if error else None


def test_those_who_ask_during_an_fsync_share_the_next_one(group: Group) -> None:
    first, others = group.ask_while_one_is_running(WAITING)
    assert group.disk.calls == 1
    group.disk.let_go.release(2)
    assert [code(answer) for answer in (first, *others)] == [None] * (WAITING + 1)
    assert group.disk.calls == 2
    # Who stood in line is not told of as if the disk had been slow.
    assert len(group.told) == 2


def test_nobody_is_answered_by_an_fsync_that_had_begun_before_they_asked(group: Group) -> None:
    first, others = group.ask_while_one_is_running(WAITING)
    group.disk.let_go.release()
    assert code(first) is None
    group.disk.began.acquire()
    assert not any(answer.done() for answer in others)
    group.disk.let_go.release()
    assert [code(answer) for answer in others] == [None] * WAITING


def test_those_who_ask_one_after_the_other_have_an_fsync_each(group: Group) -> None:
    for number in range(1, 4):
        (answer,) = group.ask(1)
        group.disk.let_go.release()
        assert code(answer) is None
        assert group.disk.calls == number


@pytest.mark.parametrize("failing", [1, 2])
def test_an_fsync_that_fails_fails_for_all_who_share_it_and_for_nobody_else(
    group: Group, failing: int
) -> None:
    group.disk.failing = {failing}
    first, others = group.ask_while_one_is_running(WAITING)
    group.disk.let_go.release(2)
    assert code(first) == (errno.EIO if failing == 1 else None)
    assert [code(answer) for answer in others] == [errno.EIO if failing == 2 else None] * WAITING
    assert group.disk.calls == 2, "what failed was tried again"
    # Each has an error of its own: one that is raised in many threads would mix their traces.
    errors = [id(answer.exception()) for answer in others if answer.exception()]
    assert len(set(errors)) == len(errors)
    (later,) = group.ask(1)
    group.disk.let_go.release()
    assert code(later) is None


def test_a_descriptor_is_made_durable_by_the_real_thing(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    group = GroupSync(fd)
    group.sync()
    group.sync()
    os.close(fd)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        group.sync()
