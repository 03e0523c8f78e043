"""WebSocket over a byte stream, and what the peer sees of it byte by byte."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import assert_never

import pytest
import trio
import trio.testing
from helpers.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    RawPeer,
    frame,
    header,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from galileod.net import guarded
from galileod.net.frames import PART, TEXT_LIMIT, BinaryMessage, FrameTooLarge, MessagePart
from galileod.net.watch import MessageIncomplete, PeerSilent
from galileod.net.websocket import FrameError, TransportClosed, WebSocketTransport, open_transport

pytestmark = pytest.mark.timeout(20)

PATIENCE = 1000


class Watched(trio.abc.HalfCloseableStream):
    """A stream that notes what it is asked for, and can get stuck in the middle of sending."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self.read_sizes: list[int | None] = []
        self.read = 0
        self.stuck = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.read_sizes.append(max_bytes)
        data = await self._stream.receive_some(max_bytes)
        self.read += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.stuck:
            await self._stream.send_all(data[: len(data) // 2])
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def linked(
    surplus: bytes = b"",
) -> AsyncIterator[tuple[WebSocketTransport, RawPeer, Watched]]:
    """A transport, its peer, and the stream between them."""
    ours, theirs = memory_stream_pair()
    watched, peer = Watched(ours), RawPeer(theirs)
    with trio.fail_after(PATIENCE):
        async with open_transport(watched, KEY, surplus, PATIENCE) as link:
            head = await peer.receive_head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head.lower()
            yield link, peer, watched


def allow(link: WebSocketTransport, length: int) -> None:
    """One more BINARY message of at most `length` bytes may come."""
    link.budget.promise(link.budget.promised + length, max(link.budget.largest, length))


async def rest_of(peer: RawPeer, watched: Watched) -> list[Frame]:
    """Whatever was sent to the peer and not read yet."""
    await trio.testing.wait_all_tasks_blocked()
    await watched.send_eof()
    return await peer.receive_frames()


async def whole(link: WebSocketTransport, first: MessagePart | None = None) -> bytes:
    """The bytes of the next message, which is a BINARY one; `first` was taken already."""
    pieces = first.pieces if first else []
    while True:
        match await link.receive(5):
            case MessagePart(part):
                pieces += part
            case BinaryMessage(rest, length):
                data = b"".join(pieces + rest)
                assert len(data) == length
                return data
            case str(text):
                raise AssertionError(text)


FIRST, SECOND = frame(TEXT, b'{"first": 1}'), frame(TEXT, b'{"second": 2}')


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


# Long messages, in parts.

LONG = 4 * PART


def long_frame(length: int, *, final: bool = True, opcode: int = BINARY) -> bytes:
    """A frame of so many bytes, each of which says where it stands."""
    data = bytes(range(251)) * (length // 251 + 1)
    return header(opcode, length, final=final) + data[:length]


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


async def test_a_peer_is_read_no_further_than_what_comes_is_taken(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, LONG)
        allow(link, LONG)
        data = long_frame(LONG)
        await peer.send(data * 2)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.read <= 3 * PART + guarded.READ
        first = await link.receive(5)
        assert isinstance(first, MessagePart)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.read <= 4 * PART + guarded.READ
        assert await whole(link, first) == data[-LONG:]
        assert await whole(link) == data[-LONG:]


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


# What a peer may not send.


@pytest.mark.parametrize(
    ("head", "text", "length"),
    [
        (header(BINARY, 101), False, 101),
        (header(BINARY, 2**62), False, 2**62),
        (header(TEXT, TEXT_LIMIT + 1), True, TEXT_LIMIT + 1),
        (frame(BINARY, b"x" * 60, final=False) + header(CONTINUATION, 41), False, 101),
        (frame(TEXT, b"x", final=False) + header(CONTINUATION, TEXT_LIMIT), True, TEXT_LIMIT + 1),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_too_large_a_message_is_refused_on_its_header(
    autojump_clock: MockClock, *, head: bytes, text: bool, length: int, together: bool
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 100)
        began = trio.current_time()
        good = frame(TEXT, b"good")
        for piece in [good + head] if together else [good, head]:
            await peer.send(piece)
        assert await link.receive(5) == "good"
        for _ in range(2):  # it stays refused
            with pytest.raises(FrameTooLarge) as refused:
                await link.receive(5)
            assert (refused.value.text, refused.value.length) == (text, length)
        assert trio.current_time() == began
        await check_last_words(link, peer, watched)


async def check_last_words(link: WebSocketTransport, peer: RawPeer, watched: Watched) -> None:
    """Nothing more can be received, but `send` and `finish` work, and at once."""
    began = trio.current_time()
    await link.send('{"error": "x"}', timeout=5)
    assert await link.finish(1008, "bad_message", 5) == "closed by us: bad_message"
    assert trio.current_time() == began
    words, closing = await rest_of(peer, watched)
    assert json.loads(words.payload) == {"error": "x"}
    assert closing.close_code == 1008
    assert closing.payload[2:] == b"bad_message"


async def test_data_before_anything_was_granted_is_too_large(autojump_clock: MockClock) -> None:
    async with linked() as (link, peer, _):
        await peer.send(header(BINARY, 1))
        with pytest.raises(FrameTooLarge):
            await link.receive(5)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", key=None), 1002),
        (bytes([0xC1, 0x80]) + bytes(4), 1002),
        (bytes([0xA1, 0x80]) + bytes(4), 1002),
        (frame(0x3), 1002),
        (frame(0xB), 1002),
        (frame(PING, final=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, (999).to_bytes(2)), 1002),
        (frame(CLOSE, (1005).to_bytes(2)), 1002),
        (frame(CLOSE, (1000).to_bytes(2) + b"\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3", final=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xc3"), 1007),
        # A length that a shorter form would have held (RFC 6455, 5.2).
        (bytes([0x81, 0xFE]) + (5).to_bytes(2) + bytes(4) + b"xxxxx", 1002),
        (bytes([0x81, 0xFF]) + (5).to_bytes(8) + bytes(4) + b"xxxxx", 1002),
    ],
)
async def test_a_peer_that_breaks_the_rules_is_told_by_the_right_code(
    autojump_clock: MockClock, data: bytes, code: int
) -> None:
    async with linked() as (link, peer, watched):
        await peer.send(frame(TEXT, b"good") + data)
        assert await link.receive(5) == "good"
        for _ in range(2):
            with pytest.raises(FrameError) as error:
                await link.receive(5)
            assert error.value.code == code
        await check_last_words(link, peer, watched)


async def test_a_peer_that_was_granted_nothing_can_make_us_hold_little(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        await peer.send(frame(TEXT, b"x" * 20_000, key=bytes(4)) * 50)
        await trio.testing.wait_all_tasks_blocked()
        assert max(size or 0 for size in watched.read_sizes) == guarded.READ_UNGRANTED
        # One message on its way to us, one that waits, one in the making.
        assert watched.read < 4 * (20_000 + guarded.READ_UNGRANTED)
        for _ in range(50):
            assert await link.receive(5) == "x" * 20_000
        allow(link, guarded.READ)
        await peer.send(frame(PING))
        await trio.testing.wait_all_tasks_blocked()
        assert watched.read_sizes[-1] == guarded.READ


async def test_what_was_granted_and_came_lets_a_peer_make_us_hold_no_more_than_before(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 100_000)
        await peer.send(frame(BINARY, bytes(100_000), key=bytes(4)))
        assert (await link.receive(5)) is not None
        before = watched.read
        await peer.send(frame(TEXT, b"x" * 20_000, key=bytes(4)) * 50)
        await trio.testing.wait_all_tasks_blocked()
        assert watched.read - before < 4 * (20_000 + guarded.READ_UNGRANTED)


async def test_what_messages_left_over_may_not_come_once_that_is_settled(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        for _ in range(3):
            allow(link, 100)
        for length in (1, 100):
            await peer.send(frame(BINARY, bytes(length)))
        assert (await link.receive(5)) is not None
        link.budget.promise(100, 100)  # for the one that has come and was not received
        await peer.send(frame(BINARY, b"more"))
        message = await link.receive(5)
        assert isinstance(message, BinaryMessage)
        assert message.length == 100
        with pytest.raises(FrameTooLarge):
            await link.receive(5)


# Time.


@pytest.mark.parametrize("sent", [b"", b"\x81", frame(TEXT, b"whole")[:-1]])
async def test_silence_is_counted_from_the_last_byte(
    autojump_clock: MockClock, nursery: trio.Nursery, sent: bytes
) -> None:
    async with linked() as (link, peer, _):
        began = trio.current_time()

        async def trickle() -> None:
            for byte in sent:
                await trio.sleep(4)
                await peer.send(bytes([byte]))

        nursery.start_soon(trickle)
        with pytest.raises(PeerSilent):
            await link.receive(5)
        assert trio.current_time() == began + 4 * len(sent) + 5


async def test_what_came_in_time_can_still_be_received_after_silence(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        with pytest.raises(PeerSilent):
            await link.receive(5)
        await peer.send(frame(TEXT, b"late"))
        assert await link.receive(5) == "late"


# The end.


@pytest.mark.parametrize(
    ("payload", "code"),
    [((1000).to_bytes(2), 1000), ((4711).to_bytes(2) + b"so long", 4711), (b"", 1005)],
)
async def test_a_close_of_the_peer_is_answered_once(
    autojump_clock: MockClock, payload: bytes, code: int
) -> None:
    async with linked() as (link, peer, watched):
        await peer.send(frame(TEXT, b"last") + frame(CLOSE, payload))
        assert await link.receive(5) == "last"
        with pytest.raises(TransportClosed) as closed:
            await link.receive(5)
        assert closed.value.code == code
        with pytest.raises(TransportClosed, match="closing"):
            await link.send("too late", timeout=5)
        began = trio.current_time()
        assert await link.finish(1000, "stored", 5) == f"closed by the peer (code {code})"
        assert trio.current_time() == began
        (answer,) = await rest_of(peer, watched)
        assert answer.opcode == CLOSE
        assert answer.payload[:2] == payload[:2]


@pytest.mark.parametrize("answers", [True, False])
async def test_nothing_follows_our_close_frame(
    autojump_clock: MockClock, nursery: trio.Nursery, *, answers: bool
) -> None:
    async with linked() as (link, peer, watched):
        began = trio.current_time()

        async def peer_goes_on() -> None:
            assert await peer.receive_frame() == Frame(CLOSE, (1008).to_bytes(2) + b"conflict")
            await peer.send(frame(PING, b"?") + frame(TEXT, b"more"))
            if answers:
                await peer.send(frame(CLOSE, (1008).to_bytes(2)))

        nursery.start_soon(peer_goes_on)
        assert await link.finish(1008, "conflict", 5) == "closed by us: conflict"
        assert trio.current_time() == began + 5 + (0 if answers else 1)
        with pytest.raises(TransportClosed, match="closing"):
            await link.send("too late", timeout=5)
        assert await rest_of(peer, watched) == []


@pytest.mark.parametrize("at", [0, 3])
async def test_a_peer_that_closes_by_itself_is_not_closed_by_us(
    autojump_clock: MockClock, nursery: trio.Nursery, at: float
) -> None:
    async with linked() as (link, peer, watched):
        began = trio.current_time()

        async def close() -> None:
            await trio.sleep(at)
            await peer.send(frame(TEXT, b"dropped") * 3 + frame(CLOSE, (1000).to_bytes(2)))

        nursery.start_soon(close)
        assert await link.finish(1000, "stored", 5) == "closed by the peer (code 1000)"
        assert trio.current_time() == began + at
        assert await rest_of(peer, watched) == [Frame(CLOSE, (1000).to_bytes(2))]


async def test_a_peer_that_never_stops_cannot_put_the_end_off(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, _):
        began = trio.current_time()

        async def babble() -> None:
            while True:
                await peer.send(frame(PING, b"?") + frame(TEXT, b"more"))
                await trio.sleep(0.25)

        nursery.start_soon(babble)
        assert await link.finish(1000, "stored", 5) == "closed by us: stored"
        assert trio.current_time() == began + 6
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_lost_is_closed_without_a_word(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        await peer.send(frame(TEXT, b"last"))
        await peer.stream.aclose()
        assert await link.receive(5) == "last"
        with pytest.raises(TransportClosed, match="lost") as closed:
            await link.receive(5)
        assert closed.value.code == 1006
        with pytest.raises(TransportClosed, match="lost"):
            await link.send("too late", timeout=5)
        assert await link.finish(1000, "gone", 5) == "the connection was lost"


async def test_the_stream_stays_open_for_the_one_who_gave_it(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    async with open_transport(ours, KEY, b"", PATIENCE) as link:
        await link.finish(1000, "stored", 0)
    await ours.send_all(b"still open")
    assert (await theirs.receive_some()).endswith(b"still open")


async def test_a_peer_that_is_gone_before_the_answer_is_no_error_of_ours(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    with pytest.RaisesGroup(pytest.RaisesExc(TransportClosed, match="lost")):
        async with open_transport(ours, KEY, b"", PATIENCE):
            raise AssertionError("there is nobody to talk to")


# A frame that was cut off.


async def sent_too_slowly(link: WebSocketTransport) -> None:
    with pytest.raises(TransportClosed, match="does not read"):
        await link.send("x" * 100, timeout=3)


async def sent_and_cancelled(link: WebSocketTransport) -> None:
    with trio.move_on_after(3) as scope:
        await link.send("x" * 100, timeout=100)
    assert scope.cancelled_caught


@pytest.mark.parametrize("cut_off", [sent_too_slowly, sent_and_cancelled])
async def test_a_frame_that_was_cut_off_is_the_last_thing_sent(
    autojump_clock: MockClock, cut_off: Callable[[WebSocketTransport], Awaitable[None]]
) -> None:
    async with linked() as (link, peer, watched):
        await link.send("whole", timeout=5)
        began = trio.current_time()
        watched.stuck = True
        await cut_off(link)
        assert trio.current_time() == began + 3
        watched.stuck = False
        with pytest.raises(TransportClosed, match="lost"):
            await link.send("corrupt", timeout=5)
        await peer.send(frame(PING, b"?"))
        await link.finish(1000, "stored", 1)
        await watched.send_eof()
        assert await peer.receive_frame() == Frame(TEXT, b"whole")
        assert await peer.receive_all() == b"\x81\x64" + b"x" * 49


async def test_a_frame_that_waits_for_another_is_whole_or_not_there(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with linked() as (link, peer, watched):
        for number in range(5):
            nursery.start_soon(partial(link.send, f"{number}", timeout=5))
            await peer.send(frame(PING, b"%d" % number))
        await trio.testing.wait_all_tasks_blocked()
        frames = await rest_of(peer, watched)
    for opcode in (TEXT, PONG):
        payloads = sorted(each.payload for each in frames if each.opcode == opcode)
        assert payloads == [b"0", b"1", b"2", b"3", b"4"]
