"""Checkpoints: how often, and what is recorded."""

from typing import cast

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.ledger.base import Ledger
from galileod.storage.base import Sink
from galileod.storage.errors import StorageError
from galileod.uploads.checkpoints import CHECKPOINT_BYTES, CHECKPOINT_SECONDS, Checkpoints


@define
class Recorder:
    """A sink and a ledger in one: what was made durable, and when it was recorded."""

    offset: int = 0
    takes: float = 0
    fails: bool = False
    records: list[tuple[float, int]] = field(factory=list)
    _durable: int = 0

    async def checkpoint(self, upload: str | None = None, durable: int = 0) -> int:
        if upload is not None:
            self.records.append((trio.current_time(), durable))
            return durable
        self._durable = self.offset
        await trio.sleep(self.takes)
        if self.fails:
            raise StorageError("the disk is on fire")
        return self._durable

    def make(self) -> Checkpoints:
        return Checkpoints(cast("Sink", self), cast("Ledger", self), "1")


async def test_one_is_made_after_some_seconds_if_anything_has_come(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder(offset=10)
    checkpoints = recorder.make()
    with trio.move_on_after(CHECKPOINT_SECONDS * 3.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checkpoints.run)
            await trio.sleep(CHECKPOINT_SECONDS * 1.5)
            recorder.offset = 11
            checkpoints.written()
    assert recorder.records == [(CHECKPOINT_SECONDS * 2, 11)]


async def test_one_is_made_as_soon_as_enough_has_come(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    checkpoints = recorder.make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checkpoints.run)
        await wait_all_tasks_blocked()
        recorder.offset = CHECKPOINT_BYTES
        checkpoints.written()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert recorder.records == [(0, CHECKPOINT_BYTES)]


async def test_what_comes_during_one_is_covered_by_the_next(autojump_clock: MockClock) -> None:
    recorder = Recorder(takes=30)
    checkpoints = recorder.make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checkpoints.run)
        await wait_all_tasks_blocked()
        for part in (1, 2):
            recorder.offset = part * CHECKPOINT_BYTES
            checkpoints.written()
            await trio.sleep(10)
        await trio.sleep(45)
        nursery.cancel_scope.cancel()
    assert recorder.records == [(30, CHECKPOINT_BYTES), (60, 2 * CHECKPOINT_BYTES)]


async def test_a_failure_is_raised_and_not_recorded(autojump_clock: MockClock) -> None:
    recorder = Recorder(fails=True)
    checkpoints = recorder.make()
    recorder.offset = 1
    with pytest.raises(StorageError):
        await checkpoints.run()
    assert recorder.records == []
