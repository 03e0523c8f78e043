"""Bytes read and hashed ahead of the sending, and not too far ahead."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.client.errors import DifferentError, SourceError
from galileod.client.hashing import FileHash
from galileod.client.read_ahead import MAX_TOUCHED, QUEUE_SIZE, READ_SIZE, read_ahead
from galileod.client.sources import PathSource, Source, Update, open_path
from galileod.protocol.messages import HashClaim


class Shares(Source):
    """Gives what it has in these shares, whatever is asked for; `taken` counts them."""

    def __init__(self, shares: Sequence[bytes], size: int) -> None:
        super().__init__("a.bin", size, "a.bin", seekable=False)
        self._shares = list(shares)
        self.taken = 0

    async def read(self, offset: int, length: int, update: Update) -> bytes:
        del offset  # it is read in order
        await trio.lowlevel.checkpoint()
        if not self._shares:
            return b""
        share = self._shares.pop(0)
        if len(share) > length:
            share, rest = share[:length], share[length:]
            self._shares.insert(0, rest)
        self.taken += 1
        update(share)
        return share


class Overtaken(Source):
    """Gives what follows on its first half while the answer with that half is on its way."""

    def __init__(self, data: bytes) -> None:
        super().__init__("a.bin", len(data), "a.bin")
        self._data = data
        self._hashed, self._given = trio.Event(), trio.Event()

    async def read(self, offset: int, length: int, update: Update) -> bytes:
        data = self._data[offset : offset + length]
        if offset == 0:
            update(data)
            self._hashed.set()
            await self._given.wait()
            return data
        await self._hashed.wait()
        update(data)
        self._given.set()
        return data


async def test_a_check_is_compared_although_what_follows_is_read_meanwhile() -> None:
    data = bytes(range(100)) * 2
    check = HashClaim("sha1", hashlib.sha1(b"other", usedforsecurity=False).hexdigest())
    with pytest.RaisesGroup(DifferentError, flatten_subgroups=True), trio.fail_after(10):
        async with read_ahead(Overtaken(data), FileHash("sha1")) as pieces:
            await pieces.begin(100, check)
            await pieces.all_read.wait()


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_all_bytes_come_in_order_and_are_hashed(shares: list[bytes], at_most: int) -> None:
    data = b"".join(shares)

    async def run() -> None:
        got = b""
        async with read_ahead(Shares(shares, len(data)), FileHash("sha256")) as pieces:
            await pieces.begin(0)
            while len(got) < len(data):
                part = await pieces.next(at_most)
                assert 0 < len(part) <= at_most
                got += part
            await pieces.all_read.wait()
        assert got == data
        assert pieces.hash.hashes() == {"sha256": hashlib.sha256(data).hexdigest()}

    trio.run(run)


async def test_a_reader_that_is_not_waited_for_stops() -> None:
    source = Shares([bytes(READ_SIZE)] * 10, 10 * READ_SIZE)
    async with read_ahead(source, FileHash(None)) as pieces:
        await pieces.begin(0)
        await trio.testing.wait_all_tasks_blocked()
        # One waits, and one is in hand; a third is with the sender once it has asked for it.
        assert source.taken == QUEUE_SIZE + 1
        await pieces.next(1)
        await trio.testing.wait_all_tasks_blocked()
        assert source.taken == QUEUE_SIZE + 2
        assert not pieces.all_read.is_set()
    assert source.taken == QUEUE_SIZE + 2


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (10, "a.bin has 6 bytes, not the 10 declared"),
        (5, "a.bin has more than the 5 bytes"),
        (0, "a.bin has more than the 0 bytes"),
    ],
)
async def test_another_length_than_was_announced_is_an_error(size: int, sentence: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(SourceError, match=sentence), flatten_subgroups=True):
        async with read_ahead(Shares([b"abc", b"def"], size), FileHash("sha1")) as pieces:
            await pieces.begin(0)
            while True:
                await pieces.next(100)


async def test_an_empty_file_is_read_at_once() -> None:
    async with read_ahead(Shares([], 0), FileHash("sha1")) as pieces:
        await pieces.begin(0)
        await pieces.all_read.wait()
    assert pieces.hash.hashes() == {"sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}


class Positioned(Source):
    """Bytes that can be read from anywhere, each time after so many rests."""

    def __init__(self, data: bytes, rests: Sequence[int]) -> None:
        super().__init__("a.bin", len(data), "a.bin")
        self._data = data
        self._rests = list(rests)

    async def read(self, offset: int, length: int, update: Update) -> bytes:
        for _ in range(self._rests.pop() if self._rests else 0):
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        data = self._data[offset : offset + length]
        update(data)
        return data


@given(
    data=st.binary(min_size=1, max_size=60),
    attempts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 60), st.integers(1, 20)), max_size=5
    ),
    last=st.floats(0, 1),
    rests=st.lists(st.integers(0, 5), max_size=40),
    block=st.integers(1, 16),
)
@settings(max_examples=200, deadline=None)
def test_each_byte_is_hashed_once_wherever_attempts_begin_and_end(
    data: bytes,
    attempts: list[tuple[float, int, int]],
    last: float,
    rests: list[int],
    block: int,
) -> None:
    source, hashed = Positioned(data, rests), bytearray()

    class Noting(FileHash):
        def update(self, offset: int, data: bytes | memoryview) -> None:
            before = self.position
            super().update(offset, data)
            hashed.extend(bytes(data)[before - offset :] if self.position > before else b"")

    file_hash = Noting("sha1")

    async def attempt(offset: int, length: int, at_most: int) -> None:
        async with read_ahead(source, file_hash) as pieces:
            await pieces.begin(0)  # as before the server's offset is known
            await pieces.begin(offset)
            sent = b""
            while len(sent) < min(length, len(data) - offset):
                sent += await pieces.next(at_most)
            assert data[offset:].startswith(sent)
            if length >= len(data):
                await pieces.all_read.wait()

    async def run() -> None:
        for place, length, at_most in attempts:
            await attempt(int(place * len(data)), length, at_most)
            assert bytes(hashed) == data[: file_hash.position]
        await attempt(int(last * len(data)), len(data), 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("galileod.client.read_ahead.READ_SIZE", block)
        trio.run(run)
    assert bytes(hashed) == data
    assert file_hash.hashes() == {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}


async def test_what_is_sent_does_not_wait_for_what_is_hashed_before_it() -> None:
    read = trio.Event()

    class Slow(Positioned):
        async def read(self, offset: int, length: int, update: Update) -> bytes:
            if offset < READ_SIZE:
                await read.wait()
            return await super().read(offset, length, update)

    data = bytes(3 * READ_SIZE)
    async with read_ahead(Slow(data, []), FileHash("sha1")) as pieces:
        await pieces.begin(READ_SIZE)
        got = 0
        while got < 2 * READ_SIZE:
            got += len(await pieces.next(READ_SIZE))
        await trio.testing.wait_all_tasks_blocked()
        assert not pieces.all_read.is_set()
        read.set()
        await pieces.all_read.wait()
    assert pieces.hash.hashes() == {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}


async def test_without_a_hash_nothing_is_read_twice() -> None:
    source = Positioned(b"0123456789", [])
    async with read_ahead(source, FileHash(None)) as pieces:
        await pieces.begin(6)
        assert bytes(await pieces.next(10)) == b"6789"
        await pieces.all_read.wait()
    assert pieces.hash.hashes() == {}


@pytest.mark.parametrize("known", [0, 3, 4])
@pytest.mark.parametrize("right", [True, False])
async def test_the_servers_hash_is_compared_where_the_own_is_known(known: int, right: bool) -> None:
    data, file_hash = b"0123456789", FileHash("sha1")
    file_hash.update(0, data[:known])
    value = hashlib.sha1(data[:4], usedforsecurity=False).hexdigest() if right else "0" * 40
    with pytest.RaisesGroup(DifferentError, flatten_subgroups=True) if not right else nullcontext():
        async with read_ahead(Positioned(data, []), file_hash) as pieces:
            await pieces.begin(4, HashClaim("sha1", value))
            await pieces.all_read.wait()
    assert file_hash.position == (10 if right else 4)


async def test_where_the_own_hash_is_beyond_the_servers_nothing_is_compared() -> None:
    data, file_hash = b"0123456789", FileHash("sha1")
    file_hash.update(0, data[:5])
    async with read_ahead(Positioned(data, []), file_hash) as pieces:
        await pieces.begin(4, HashClaim("sha1", "0" * 40))
        await pieces.all_read.wait()


class Touched(PathSource):
    """A file to which something happens before some of its reads, by their number from 0."""

    def __init__(self, path: Path, actions: Mapping[int, int | None]) -> None:
        """An action is the position of a byte that is changed; None if only the time is."""
        opened, size = open_path(str(path))
        super().__init__(str(path), opened, path.name, size)
        self._actions = actions
        self.reads = 0

    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        if self.reads in self._actions:
            self._change(self._actions[self.reads])
        self.reads += 1
        return await super().read(offset, length, update)

    def _change(self, at: int | None) -> None:
        if at is not None:
            data = bytearray(Path(self.path).read_bytes())
            data[at] ^= 1
            Path(self.path).write_bytes(data)
        os.utime(self.path, ns=(0, self.reads + 1))


def sent_of(path: Path, actions: Mapping[int, int | None], kind: str | None = "sha1") -> bytes:
    """The bytes that are sent of the file; the hash is checked."""

    async def run() -> bytes:
        source = Touched(path, actions)
        got = b""
        try:
            async with read_ahead(source, FileHash(kind)) as pieces:
                await pieces.begin(0)
                while len(got) < source.size:
                    got += await pieces.next(100)
                await pieces.all_read.wait()
        finally:
            source.close()
        digest = hashlib.sha1(got, usedforsecurity=False).hexdigest()
        assert pieces.hash.hashes() == ({"sha1": digest} if kind else {})
        return got

    return trio.run(run)


FAILS: Final = pytest.RaisesGroup(
    pytest.RaisesExc(SourceError, match="was modified while it was sent"), flatten_subgroups=True
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("read_ahead", "unmodified"):
        monkeypatch.setattr(f"galileod.client.{module}.READ_SIZE", 10)


@pytest.mark.parametrize("last", [False, True])
def test_a_file_that_is_touched_a_few_times_is_sent(
    small_blocks: None, tmp_path: Path, last: bool
) -> None:
    path, data = tmp_path / "a", bytes(range(40))
    path.write_bytes(data)
    # Before the read behind the end, or also while the bytes are read again.
    actions = dict.fromkeys([4] if last else range(1, 1 + MAX_TOUCHED))
    assert sent_of(path, actions) == data


def test_one_that_is_touched_all_the_time_is_an_error(small_blocks: None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(40))
    with FAILS:
        sent_of(path, dict.fromkeys(range(1, 100)))


def test_one_without_a_hash_is_not_looked_at(small_blocks: None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(40))
    with FAILS:
        sent_of(path, {2: None}, kind=None)


@pytest.mark.parametrize("at", [0, 9, 10, 19])
def test_one_that_was_modified_where_it_was_read_is_an_error(
    small_blocks: None, tmp_path: Path, at: int
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(40))
    with FAILS:
        sent_of(path, {1: None, 4: at})


def test_one_that_was_modified_where_it_was_not_read_is_sent_as_it_is_now(
    small_blocks: None, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(40))
    assert sent_of(path, {2: 20}) == bytes(20) + b"\1" + bytes(19)
