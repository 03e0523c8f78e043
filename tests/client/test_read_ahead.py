"""Bytes read and hashed ahead of the sending, and not too far ahead."""

import hashlib
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.client.errors import SourceError
from galileod.client.hashing import Update
from galileod.client.read_ahead import QUEUE_SIZE, READ_SIZE, read_ahead
from galileod.client.sources import Source


class Shares(Source):
    """Gives what it has in these shares, whatever is asked for; `taken` counts them."""

    def __init__(self, shares: Sequence[bytes], size: int) -> None:
        super().__init__("a.bin", size, "a.bin")
        self._shares = list(shares)
        self.taken = 0

    async def read(self, length: int, update: Update) -> bytes:
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


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_all_bytes_come_in_order_and_are_hashed(shares: list[bytes], at_most: int) -> None:
    data = b"".join(shares)

    async def run() -> None:
        got = b""
        async with read_ahead(Shares(shares, len(data)), "sha256") as pieces:
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
    async with read_ahead(source, None) as pieces:
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
    with pytest.RaisesGroup(pytest.RaisesExc(SourceError, match=sentence)):
        async with read_ahead(Shares([b"abc", b"def"], size), "sha1") as pieces:
            while True:
                await pieces.next(100)


async def test_an_empty_file_is_read_at_once() -> None:
    async with read_ahead(Shares([], 0), "sha1") as pieces:
        await pieces.all_read.wait()
    assert pieces.hash.hashes() == {"sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}
