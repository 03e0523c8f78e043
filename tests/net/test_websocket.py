"""Messages over a WebSocket: whole, in parts, and in order."""

from itertools import pairwise
from typing import assert_never

import pytest
import trio
import trio.testing
from helpers.linked import FIRST, LONG, SECOND, allow, check_last_words, linked, long_frame, whole
from helpers.splitting import PART
from helpers.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    frame,
    header,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from galileod.net.messages import BinaryMessage, MessagePart
from galileod.net.watch import MessageIncomplete
from galileod.net.websocket import FrameError, TransportClosed, WebSocketTransport

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("cut", range(0, len(FIRST + SECOND) + 1, 3))
async def test_what_came_behind_the_request_head_is_not_lost(
    autojump_clock: MockClock, cut: int
) -> None:
    data = FIRST + SECOND
    async with linked(data[:cut]) as (link, peer, _):
        await peer.send(data[cut:])
        assert await link.receive(5) == '{"first": 1}'
        assert await link.receive(5) == '{"second": 2}'


async def test_messages_in_pieces_with_pings_between_them_come_whole(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, 10)
        parts = [
            frame(BINARY, b"abc", final=False),
            frame(PING, b"are you there"),
            frame(CONTINUATION, b"", final=False),
            frame(PONG, b"unasked"),
            frame(CONTINUATION, b"def"),
            frame(TEXT, "\xfc".encode()[:1], final=False),
            frame(CONTINUATION, "\xfc".encode()[1:]),
        ]
        for byte in b"".join(parts):
            await peer.send(bytes([byte]))
        assert await whole(link) == b"abcdef"
        assert await link.receive(5) == "\xfc"
        assert await peer.receive_frame() == Frame(PONG, b"are you there")


@pytest.mark.parametrize("text", ["", "x", "\xfc" * 70, "x" * 70_000])
async def test_a_text_is_sent_as_one_frame(autojump_clock: MockClock, text: str) -> None:
    async with linked() as (link, peer, _):
        await link.send(text, timeout=5)
        assert await peer.receive_frame() == Frame(TEXT, text.encode())


async def everything(link: WebSocketTransport) -> list[str | bytes]:
    """All messages up to the end of the connection, put together."""
    messages: list[str | bytes] = []
    pieces: list[bytes] = []
    while True:
        try:
            message = await link.receive(5)
        except TransportClosed:
            return messages
        match message:
            case str():
                assert not pieces, "a signal came in the middle of a message"
                messages.append(message)
            case MessagePart(part):
                assert sum(map(len, part)) >= PART
                pieces += part
            case BinaryMessage(rest, length):
                messages.append(b"".join(pieces + rest))
                assert len(messages[-1]) == length
                pieces = []
            case _:
                assert_never(message)


@settings(max_examples=25)
@given(
    kinds=st.lists(
        st.sampled_from([0, 3, PART - 1, PART, PART + 1, 2 * PART + 5]) | st.text(max_size=3),
        max_size=5,
    ),
    places=st.lists(st.floats(0, 1), max_size=5),
    pings=st.booleans(),
)
async def test_messages_parts_and_signals_keep_their_order(
    kinds: list[int | str], places: list[float], *, pings: bool
) -> None:
    frames, expected = [], list[str | bytes]()
    for kind in kinds:
        if pings:
            frames.append(frame(PING, b"?"))
        if isinstance(kind, str):
            frames.append(frame(TEXT, kind.encode()))
            expected.append(kind)
        else:
            frames.append(long_frame(kind))
            expected.append(frames[-1][len(header(BINARY, kind)) :])
    data = b"".join(frames)
    edges = [0, *sorted(int(place * len(data)) for place in places), len(data)]
    async with linked() as (link, peer, _):
        for kind in kinds:
            if isinstance(kind, int):
                allow(link, kind)

        async def send() -> None:
            for start, end in pairwise(edges):
                if start < end:
                    await peer.send(data[start:end])
            await peer.send(frame(CLOSE, (1000).to_bytes(2)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await everything(link) == expected


async def test_a_message_in_fragments_comes_in_parts_as_well(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG + 3)
        begin = long_frame(LONG, final=False)
        await peer.send(begin + frame(PING) + frame(CONTINUATION, b"end") + FIRST)
        assert await whole(link) == begin[-LONG:] + b"end"
        assert await link.receive(5) == '{"first": 1}'


async def test_an_end_in_the_middle_of_a_message_follows_its_parts(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG)
        data = long_frame(LONG)
        await peer.send(data[:-1])
        await peer.stream.aclose()
        got = b""
        for _ in range(3):
            part = await link.receive(5)
            assert isinstance(part, MessagePart)
            got += b"".join(part.pieces)
        assert data[-LONG:].startswith(got)
        for _ in range(3):
            with pytest.raises(TransportClosed, match="lost"):
                await link.receive(5)


async def test_a_breach_in_the_middle_of_a_message_follows_its_parts(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, LONG)
        await peer.send(long_frame(2 * PART, final=False) + frame(TEXT, b"x"))
        part = await link.receive(5)
        assert isinstance(part, MessagePart)
        for _ in range(3):
            with pytest.raises(FrameError):
                await link.receive(5)
        await check_last_words(link, peer, watched)


async def test_nothing_is_lost_when_receiving_is_cut_short(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, _):
        allow(link, LONG)
        data = long_frame(LONG)

        async def trickle() -> None:
            step = PART // 3
            for start in range(0, len(data), step):
                await peer.send(data[start : start + step])
                await trio.sleep(1)
            await peer.send(FIRST)

        nursery.start_soon(trickle)
        got, cuts = b"", 0
        while True:
            try:
                message = await link.receive(5, 0.7)
            except MessageIncomplete:
                cuts += 1
                continue
            assert not isinstance(message, str)
            got += b"".join(message.pieces)
            if isinstance(message, BinaryMessage):
                break
        assert cuts >= 3
        assert got == data[-LONG:]
        assert message.length == LONG
        assert message.last_byte - message.first_byte == 12
        assert await link.receive(5) == '{"first": 1}'


async def test_a_message_says_when_it_came_not_when_it_was_taken(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        allow(link, 100)
        began = trio.current_time()
        data = frame(BINARY, b"x" * 100)
        await peer.send(data[:50])
        await trio.sleep(2)
        await peer.send(data[50:])
        await trio.sleep(3)
        message = await link.receive(5)
        assert isinstance(message, BinaryMessage)
        assert (message.first_byte, message.last_byte) == (began, began + 2)
