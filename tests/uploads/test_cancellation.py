"""A connection that is cut off at any step leaves a whole file, or nothing."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.wire import PEER, WireClient, serving, with_chunks
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed

from galileod.config.model import Config
from galileod.storage.base import Store
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage

pytestmark = pytest.mark.timeout(60)

DATA = bytes(range(250))
CONFIG = with_chunks(100, 2, Config())

STEPS_AT_LEAST = 30
"""An upload of three chunks takes more steps than this; fewer, and the tests would test nothing."""


class CutOff(trio.abc.Instrument):
    """Cancels `scope` when the server's tasks have taken `after` steps."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.scope = trio.CancelScope()
        self.root: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.root is not None and self._is_ours(task):
            if self._left == 0:
                self.scope.cancel()
            self._left -= 1

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self.root:
            nursery = ancestor.parent_nursery
            ancestor = nursery.parent_task if nursery else None
        return ancestor is not None


async def upload_cut_off(store: Store, after: int) -> tuple[bool, bool]:
    """Upload while the server is cut off; says if it was, and if the client had its `close`."""
    cut_off = CutOff(after)
    told = False

    async with serving(store, CONFIG) as wire:
        serve = wire.server.serve

        async def serve_until_cut_off(*args: Any) -> None:  # noqa: ANN401
            with cut_off.scope:
                cut_off.root = trio.lowlevel.current_task()
                try:
                    await serve(*args)
                finally:
                    cut_off.root = None

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wire.server, "serve", serve_until_cut_off)
            trio.lowlevel.add_instrument(cut_off)
            try:
                with trio.move_on_after(30) as patience:
                    client = await open_or_none(wire.open, wire.all_ended)
                    if client is not None:
                        told = await upload(client)
                    await wire.all_ended()
            finally:
                trio.lowlevel.remove_instrument(cut_off)
        assert not patience.cancelled_caught
        assert len(wire.context.admission.running) == 0
    return cut_off.scope.cancelled_caught, told


async def open_or_none(
    opening: Callable[[], Awaitable[WireClient]], ended: Callable[[], Awaitable[None]]
) -> WireClient | None:
    """The client, unless the server ends before the upgrade is answered."""
    client: WireClient | None = None
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await trio.lowlevel.checkpoint()  # the connection is not made before this
            await ended()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        client = await opening()
        nursery.cancel_scope.cancel()
    return client


async def upload(client: WireClient) -> bool:
    try:
        signal = await client.upload("a.bin", DATA)
        await client.close()
    except ConnectionClosed:
        return False
    return signal == {"close": True}


def check_log(logs: list[Any], *, stored: bool) -> None:
    """What the log says of the end is what the store holds, and it says it once."""
    events = [line["event"] for line in logs]
    ends = [event for event in events if event in ("upload.stored", "upload.failed")]
    assert ends in ([], ["upload.stored"], ["upload.failed"])
    assert stored == ("upload.stored" in ends)
    assert "upload.started" not in events or ends
    assert events.count("connection.opened") == events.count("connection.closed")
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_a_cancelled_session_leaves_no_sink_open(autojump_clock: MockClock) -> None:
    del autojump_clock
    after, was_cut_off, told = -1, True, False
    store = MemoryStore()
    while was_cut_off:
        after += 1
        store = MemoryStore()
        was_cut_off, told = await upload_cut_off(store, after)
        assert store.open_sinks == 0, after
        assert store.contents in ({}, {"a.bin": DATA}), after
        assert store.contents or not told, after
    assert after > STEPS_AT_LEAST
    assert store.contents == {"a.bin": DATA}
    assert told


async def test_a_cancelled_session_tells_one_end_of_its_upload(autojump_clock: MockClock) -> None:
    del autojump_clock
    after, was_cut_off = -1, True
    while was_cut_off:
        after += 1
        store = MemoryStore()
        with capture_logs() as logs:
            was_cut_off, _ = await upload_cut_off(store, after)
        check_log(logs, stored=bool(store.contents))
    assert after > STEPS_AT_LEAST


async def test_a_cancelled_session_leaves_nothing_on_disk_but_a_whole_file(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    store = LocalStore.open(Storage(directory=str(directory), on_conflict="replace"))
    try:
        descriptors = len(os.listdir("/proc/self/fd"))
        after, was_cut_off, told, stored = -1, True, False, False
        while was_cut_off:
            after += 1
            was_cut_off, told = await upload_cut_off(store, after)
            assert os.listdir(directory / ".galileod/spool") == [], after
            stored = sorted(os.listdir(directory)) == [".galileod", "a.bin"]
            if stored:
                assert (directory / "a.bin").read_bytes() == DATA
                (directory / "a.bin").unlink()
            assert os.listdir(directory) == [".galileod"]
            assert stored or not told, after
            assert len(os.listdir("/proc/self/fd")) == descriptors
        assert after > STEPS_AT_LEAST
        assert stored
        assert told
    finally:
        store.close()


async def test_a_cut_off_is_not_swallowed(autojump_clock: MockClock) -> None:
    del autojump_clock
    async with serving(MemoryStore()) as wire:
        _, theirs = memory_stream_pair()
        with trio.move_on_after(1) as scope:
            await wire.server.serve(theirs, PEER)
        assert scope.cancelled_caught
