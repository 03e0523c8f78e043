"""Writing: short writes, many pieces, turns at a busy disk, and the durations reported."""

import hashlib
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trio
import trio.lowlevel
from helpers.disk import CountingOs, FaultyOs, faulty, nth, put_into_place, short_write
from helpers.local_store import DATA, open_local, put, visible
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from galileod.policy.publication import Durability
from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore, spoolfile
from galileod.storage.local.sink import WRITE_SLICE, slices
from galileod.storage.local.threads import WRITERS
from galileod.storage.local.timing import Timings

pytestmark = pytest.mark.timeout(20)

OpenStore = Callable[..., LocalStore]


@pytest.mark.parametrize("function", ["writev", "pread"])
async def test_short_reads_and_writes_lose_nothing(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    class ShortOs(FaultyOs):
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name == function == "writev":
                return short_write(7)
            if name == function == "pread":
                return lambda fd, length, offset: os.pread(fd, min(length, 7), offset)
            return super().__getattr__(name)

    store = open_store()
    put_into_place(monkeypatch, ShortOs("", range(0), 0))
    await put(store)
    assert visible(directory) == {"a.bin": DATA}


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 9, 10, 11, 1000])
async def test_a_short_write_goes_on_where_it_ended_whichever_piece_that_is(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    pieces = [b"abc", b"", b"d", b"efghi", b"", b"j", bytes(range(30))]
    content = b"".join(pieces)
    disk = CountingOs(most)
    store = open_store()
    put_into_place(monkeypatch, disk)
    async with await store.create("1", "a.bin") as sink:
        await sink.write(pieces)
        assert await sink.digest("sha1") == hashlib.sha1(content, usedforsecurity=False).hexdigest()
        assert await sink.digest("sha256") == hashlib.sha256(content).hexdigest()
        await sink.commit()
    assert visible(directory) == {"a.bin": content}
    assert len(disk.given) == -(-len(content) // most), "no byte was given twice, nor one by one"


@pytest.mark.parametrize("most", [1 << 30, 5000, 1025, 1])
async def test_the_kernel_is_given_no_more_pieces_at_once_than_it_takes(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    assert os.sysconf("SC_IOV_MAX") >= spoolfile.MOST_PIECES
    count = 2 * spoolfile.MOST_PIECES + 10
    pieces = [DATA[at : at + 1] for at in range(count)]
    disk = CountingOs(most)
    store = open_store()
    put_into_place(monkeypatch, disk)
    async with await store.create("1", "a.bin") as sink:
        await sink.write(pieces)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA[:count]}
    assert max(disk.given) == spoolfile.MOST_PIECES
    assert len(disk.given) == -(-count // min(most, spoolfile.MOST_PIECES))


@pytest.mark.by_sink
@pytest.mark.parametrize(("durability", "asked"), [("full", DATA[:5000]), ("none", b"")])
async def test_the_kernel_is_asked_to_write_out_each_byte_once_while_data_comes(
    open_store: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
    durability: Durability,
    asked: bytes,
) -> None:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(spoolfile, "WRITEBACK_STEP", 1000)
    monkeypatch.setattr(
        spoolfile, "start_writeback", lambda _fd, offset, length: ranges.append((offset, length))
    )
    async with await open_store(durability=durability).create("1", "a.bin") as sink:
        for start in range(0, len(DATA), 250):
            await sink.write([DATA[start : start + 90], DATA[start + 90 : start + 250]])
    assert b"".join(DATA[offset : offset + length] for offset, length in ranges) == asked


@pytest.mark.parametrize(("durability", "calls"), [("full", 2), ("none", 0)])
async def test_durability_decides_on_fsync(
    open_store: OpenStore, durability: Durability, calls: int
) -> None:
    store = open_store(durability=durability)
    with faulty("fsync", range(0)) as disk:
        await put(store)
    assert disk.calls == calls


@pytest.mark.parametrize(("durability", "fsyncs"), [("full", 1), ("none", 0)])
async def test_the_disk_s_own_time_is_told_step_by_step(
    directory: Path, durability: Durability, fsyncs: int
) -> None:
    told: dict[str, list[float]] = {"write": [], "file": [], "directory": []}
    timings = Timings(*(times.append for times in told.values()))
    store = open_local(directory, durability=durability, timings=timings)
    await put(store)
    store.close()
    assert {step: len(times) for step, times in told.items()} == {
        "write": 2, "file": fsyncs, "directory": fsyncs,
    }  # fmt: skip
    assert all(seconds >= 0 for times in told.values() for seconds in times)


async def test_the_time_of_a_step_that_fails_is_told_too(directory: Path) -> None:
    told: list[float] = []
    store = open_local(directory, timings=Timings(fsync_file=told.append))
    with faulty("fsync", nth(1)), pytest.raises(StorageError):
        await put(store)
    store.close()
    assert len(told) == 1


@given(st.lists(st.binary(max_size=8), max_size=12), st.integers(1, 20))
def test_turns_have_all_pieces_in_order_and_no_more_than_their_share(
    pieces: list[bytes], most: int
) -> None:
    shared = list(slices(pieces, most))
    assert [piece for turn in shared for piece in turn] == pieces
    assert all(turn and (len(turn) == 1 or sum(map(len, turn)) <= most) for turn in shared)
    # No turn could have taken the first piece of the next one, too.
    assert all(
        sum(map(len, turn)) + len(after[0]) > most for turn, after in itertools.pairwise(shared)
    )


@pytest.mark.by_sink
async def test_an_upload_that_finds_all_writers_busy_takes_turns_with_others(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    order = []

    def hang(over: Event) -> None:
        over.wait(20)

    async def write(name: str, pieces: list[bytes]) -> None:
        async with await store.create(name, name) as sink:
            with faulty("writev", nth(1 << 30)) as disk:
                await sink.write(pieces)
            order.append((name, disk.calls))
            await sink.commit()

    large = [bytes(WRITE_SLICE), b"1" * WRITE_SLICE, b"2" * WRITE_SLICE]
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            over = Event()
            for _ in range(WRITERS):
                nursery.start_soon(store.threads.writers.run, partial(hang, over))
            await wait_all_tasks_blocked()
            nursery.start_soon(write, "large", large)
            while store.threads.writers.running <= WRITERS:
                await trio.lowlevel.checkpoint()
            over.set()
        await write("alone", large)
    assert order == [("large", 3), ("alone", 1)]
    assert visible(directory) == {"large": b"".join(large), "alone": b"".join(large)}
