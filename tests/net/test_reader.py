"""What a peer may not send, and how much it can make us hold."""

import pytest
import trio
import trio.testing
from helpers.linked import allow, check_last_words, linked
from helpers.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    frame,
    header,
)
from trio.testing import MockClock

from galileod.net import reader
from galileod.net.frames import TEXT_LIMIT, BinaryMessage, FrameTooLarge
from galileod.net.websocket import FrameError

pytestmark = pytest.mark.timeout(20)


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
        assert max(size or 0 for size in watched.read_sizes) == reader.READ_UNGRANTED
        # One message on its way to us, one that waits, one in the making.
        assert watched.read < 4 * (20_000 + reader.READ_UNGRANTED)
        for _ in range(50):
            assert await link.receive(5) == "x" * 20_000
        allow(link, reader.READ)
        await peer.send(frame(PING))
        await trio.testing.wait_all_tasks_blocked()
        assert watched.read_sizes[-1] == reader.READ


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
        assert watched.read - before < 4 * (20_000 + reader.READ_UNGRANTED)


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
