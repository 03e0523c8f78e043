"""In how many pieces and parts a message is held."""

import pytest
from helpers.splitting import (
    PART,
    PLENTY,
    frame,
    header,
    messages_of,
    parts_of,
    splitter_allowing,
    unmasked,
)
from helpers.wire import BINARY, CONTINUATION
from hypothesis import given
from hypothesis import strategies as st

from galileod.net.frames import (
    SMALL_PIECE,
)


@pytest.mark.parametrize("length", [1, SMALL_PIECE - 1, SMALL_PIECE, 5 * SMALL_PIECE + 3])
def test_a_message_that_trickles_in_is_held_in_few_pieces(length: int) -> None:
    splitter = splitter_allowing(length, unmask=unmasked)
    data = header(BINARY, length, key=bytes(4)) + bytes(length)
    for byte in data:
        splitter.feed(bytes([byte]), 0.0, PLENTY)
    (message,) = messages_of(splitter)
    assert len(message.pieces) <= length / SMALL_PIECE + 2
    assert sum(map(len, message.pieces)) == length


@given(st.lists(st.integers(1, 3 * SMALL_PIECE), min_size=1, max_size=60))
def test_pieces_of_any_size_are_joined_where_they_are_small(sizes: list[int]) -> None:
    length = sum(sizes)
    splitter = splitter_allowing(length, unmask=unmasked)
    splitter.feed(header(BINARY, length, key=bytes(4)), 0.0, PLENTY)
    for size in sizes:
        splitter.feed(bytes(size), 0.0, PLENTY)
    (message,) = messages_of(splitter)
    assert len(message.pieces) <= length / SMALL_PIECE + 2
    assert sum(map(len, message.pieces)) == length


@pytest.mark.parametrize("step", [100_000, PART // 4, PART - 1, PART, 3 * PART])
@pytest.mark.parametrize("length", [PART, 4 * PART, 4 * PART + 1, 9 * PART // 2])
def test_a_long_message_comes_in_parts(step: int, length: int) -> None:
    splitter = splitter_allowing(length, unmask=unmasked)
    data = header(BINARY, length, key=bytes(4)) + bytes(length)
    for start in range(0, len(data), step):
        splitter.feed(data[start : start + step], 0.0, PLENTY)
    parts = [sum(map(len, part.pieces)) for part in parts_of(splitter)]
    (message,) = messages_of(splitter)
    rest = sum(map(len, message.pieces))
    assert sum(parts) + rest == message.length == length
    assert all(PART <= part < PART + step for part in parts)
    assert rest < PART + step


def test_a_part_is_there_as_soon_as_it_is_large_enough() -> None:
    splitter = splitter_allowing(2 * PART, unmask=unmasked)
    splitter.feed(header(BINARY, 2 * PART, key=bytes(4)) + bytes(PART - 1), 0.0, PLENTY)
    assert not splitter.items
    splitter.feed(bytes(1), 0.0, PLENTY)
    assert len(parts_of(splitter)) == 1
    splitter.feed(bytes(PART), 0.0, PLENTY)
    assert len(parts_of(splitter)) == 1
    assert len(messages_of(splitter)) == 1


def test_a_long_message_in_short_frames_comes_in_parts() -> None:
    splitter, size = splitter_allowing(4 * PART, unmask=unmasked), 64 * 1024
    frames = 4 * PART // size
    for number in range(frames):
        opcode = CONTINUATION if number else BINARY
        head = header(opcode, size, final=number == frames - 1, key=bytes(4))
        splitter.feed(head + bytes(size), 0.0, PLENTY)
        assert splitter._gathered < PART + size
    assert len(parts_of(splitter)) >= 3
    assert messages_of(splitter)[0].length == 4 * PART


def test_a_large_message_may_come_in_small_frames() -> None:
    splitter = splitter_allowing(8 << 20)
    start, more = frame(BINARY, 1024, final=False), frame(CONTINUATION, 1024, final=False)
    splitter.feed(start + more * 8000, 0.0, 1 << 62)
    assert splitter.due == (8 << 20) - 8001 * 1024
