"""A disk that fails, or takes little at a time, for the modules of the local store."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from galileod.storage.local import (
    batchpublish,
    batchwrite,
    copying,
    directory,
    filesync,
    groupsync,
    inheritance,
    pending,
    publish,
    recovery,
    reopening,
    spool,
    spoolfile,
    spools,
    statedir,
    store,
    suspended,
)
from galileod.storage.local.renaming import rename_noreplace


class FaultyOs:
    """Stands in for `os` in the local store: the calls of `function` in `failing` raise `code`."""

    def __init__(self, function: str, failing: range, code: int) -> None:
        self._function = function
        self._failing = failing
        self._code = code
        self.calls = 0

    @property
    def reached(self) -> bool:
        return self.calls >= self._failing.start

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the module has
        original: Any = rename_noreplace if name == "rename_noreplace" else getattr(os, name)
        if name != self._function:
            return original

        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            failing = self.calls in self._failing
            if failing and name == "close":
                original(*args)  # Linux lets go of the descriptor, whatever close returns
            if failing:
                raise OSError(self._code, os.strerror(self._code))
            return original(*args, **kwargs)

        return counted


@contextmanager
def faulty(function: str, failing: range, code: int = errno.EIO) -> Iterator[FaultyOs]:
    """Break the disk for the block only."""
    disk = FaultyOs(function, failing, code)
    with pytest.MonkeyPatch.context() as patch:
        put_into_place(patch, disk)
        yield disk


def put_into_place(patch: pytest.MonkeyPatch, disk: FaultyOs) -> None:
    """Let everything that does the store's work on the disk use `disk`."""
    for module in (
        store,
        batchpublish,
        batchwrite,
        directory,
        statedir,
        spool,
        spoolfile,
        inheritance,
        pending,
        copying,
        publish,
        groupsync,
        filesync,
        reopening,
        recovery,
        spools,
        suspended,
    ):
        patch.setattr(module, "os", disk)
    for module in (spool, publish):
        patch.setattr(module, "rename_noreplace", disk.rename_noreplace)


def nth(call: int) -> range:
    return range(call, call + 1)


def descriptors() -> set[str]:
    return {
        f"{fd}:{path}"
        for fd in os.listdir("/proc/self/fd")
        if (path := _link(f"/proc/self/fd/{fd}")) and "galileod" in path
    }


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def short_write(most: int) -> Callable[[int, Sequence[memoryview]], int]:
    """A writev that takes no more than `most` bytes at a time."""

    def writev(fd: int, pieces: Sequence[memoryview]) -> int:
        taken, left = [], most
        for piece in pieces:
            taken.append(piece[:left])
            left -= len(taken[-1])
        return os.writev(fd, taken)

    return writev


class CountingOs(FaultyOs):
    """Writes `most` bytes at a time, and notes how many pieces it was given each time."""

    def __init__(self, most: int, function: str = "", failing: range = range(0)) -> None:
        super().__init__(function, failing, errno.ENOSPC)
        self._writev = short_write(most)
        self.given: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name != "writev":
            return super().__getattr__(name)

        def writev(fd: int, pieces: Sequence[memoryview]) -> int:
            self.given.append(len(pieces))
            self.calls += 1
            if self.calls in self._failing:
                raise OSError(self._code, os.strerror(self._code))
            return self._writev(fd, pieces)

        return writev
