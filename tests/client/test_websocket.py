"""One WebSocket from the client's side, frame by frame over a stream in memory."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from galileod.client.errors import LostError, NonsenseError
from galileod.client.idle import IdleTimeout
from galileod.client.websocket import CLOSE_TIMEOUT, MAX_MESSAGE, WebSocket

HELLO = b"\x81\x05hello"


def unmasked(frame: bytes) -> tuple[int, bytes]:
    """The opcode and the payload of a client's frame with a long or a short length."""
    assert frame[1] & 0x80
    extended = {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
    length = int.from_bytes(frame[2 : 2 + extended]) if extended else frame[1] & 0x7F
    key, payload = frame[2 + extended : 6 + extended], frame[6 + extended :]
    assert len(payload) == length
    return frame[0], bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def opened() -> tuple[WebSocket, trio.StapledStream[MemorySendStream, MemoryReceiveStream]]:
    ours, theirs = memory_stream_pair()
    return WebSocket(ours, b"", IdleTimeout(60)), theirs


@given(st.binary(max_size=200_000), st.lists(st.integers(1, 70_000), max_size=8))
@settings(max_examples=50)
def test_data_arrives_as_one_masked_frame_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    async def run() -> None:
        connection, theirs = opened()
        at, steps = 0, iter(cuts)

        async def next_part(at_most: int) -> memoryview:
            nonlocal at
            part = memoryview(data)[at : at + min(at_most, next(steps, at_most))]
            at += len(part)
            await trio.lowlevel.checkpoint()
            return part

        if data:
            await connection.send_data(len(data), next_part)
            received = bytes(await theirs.receive_some(len(data) + 14))
            assert unmasked(received) == (0x82, data)

    trio.run(run)


@given(st.lists(st.binary(max_size=300), max_size=5))
@settings(max_examples=300)
def test_whatever_a_server_sends_is_a_text_or_one_of_two_errors(pieces: list[bytes]) -> None:
    async def run() -> None:
        for begin in (b"", HELLO, b"\x01\x02he", b"\x88", b"\x89\x01x"):
            connection, theirs = opened()
            await theirs.send_all(begin + b"".join(pieces))
            await theirs.send_stream.aclose()
            with pytest.raises((LostError, NonsenseError)):
                await texts_up_to_the_end(connection)
            await connection.close()

    trio.run(run)


async def texts_up_to_the_end(connection: WebSocket) -> None:
    while True:
        assert isinstance(await connection.receive(), str)


async def test_what_came_before_the_end_is_heard_first() -> None:
    connection, theirs = opened()
    await theirs.send_all(HELLO * 3 + b"\x88\x02\x03\xe8" + HELLO)
    for _ in range(3):
        assert await connection.receive() == "hello"
    for _ in range(2):
        with pytest.raises(LostError, match="code 1000"):
            await connection.receive()


async def test_a_message_in_fragments_is_one_message() -> None:
    connection, theirs = opened()
    await theirs.send_all(b"\x01\x02he\x89\x01x\x80\x03llo")
    assert await connection.receive() == "hello"
    assert unmasked(bytes(await theirs.receive_some(100))) == (0x8A, b"x")


async def test_a_message_in_fragments_has_the_same_limit() -> None:
    connection, theirs = opened()
    fragment = b"\x00\x7d" + b"x" * 125
    await theirs.send_all(b"\x01\x00" + fragment * (MAX_MESSAGE // 125 + 1))
    with pytest.raises(NonsenseError, match="more than 65536 characters"):
        await connection.receive()


async def test_a_message_in_fragments_of_nothing_has_the_same_limit() -> None:
    connection, theirs = opened()
    await theirs.send_all(b"\x01\x00" + b"\x00\x00" * (MAX_MESSAGE + 1))
    with pytest.raises(NonsenseError, match="more than 65536 characters"):
        await connection.receive()


async def test_what_follows_a_ping_is_heard_while_data_is_sent() -> None:
    connection, theirs = opened()
    heard = trio.Event()

    async def part(_: int) -> memoryview:
        await heard.wait()
        return memoryview(b"data")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.send_data, 4, part)
        await trio.testing.wait_all_tasks_blocked()
        await theirs.send_all(b"\x89\x01x\x89\x01y" + HELLO)
        assert await connection.receive() == "hello"
        heard.set()
    sent = bytes(await theirs.receive_some(100))
    assert unmasked(sent[:10]) == (0x82, b"data")
    assert unmasked(sent[10:]) == (0x8A, b"y")


async def test_nothing_follows_a_frame_that_was_cut_off() -> None:
    connection, theirs = opened()

    async def broken(_: int) -> memoryview:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.send_data(5, broken)
    with pytest.raises(LostError):
        await connection.send_text("{}")
    with pytest.raises(LostError):
        await connection.send_data(5, broken)
    await connection.close()
    await theirs.send_all(b"")


async def test_a_message_that_was_cancelled_between_fragments_is_ended_before_others() -> None:
    connection, theirs = opened()
    parts = [memoryview(b"data")]

    async def part(_: int) -> memoryview:
        if not parts:
            await trio.sleep_forever()
        return parts.pop()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(connection.send_fragments, 9, part, lambda: False, scope)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await connection.end_message()
    await connection.end_message()
    await connection.send_text("{}")
    sent = bytes(await theirs.receive_some(100))
    assert unmasked(sent[:10]) == (0x02, b"data")
    assert unmasked(sent[10:16]) == (0x80, b"")
    assert unmasked(sent[16:]) == (0x81, b"{}")


async def test_a_server_that_does_not_close_is_left(autojump_clock: MockClock) -> None:
    connection, theirs = opened()
    await connection.close()
    assert trio.current_time() == pytest.approx(CLOSE_TIMEOUT)
    assert unmasked(bytes(await theirs.receive_some(100))) == (0x88, b"\x03\xe8")
