"""Frames that we send, read by wsproto; and the order of sending."""

from base64 import b64encode

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from wsproto import WSConnection
from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from galileod.net.sending import TEXT, FrameSender, encode_close, encode_frame, encode_response


@given(st.text(max_size=200) | st.sampled_from([125, 126, 127, 65_535, 65_536]).map("x".__mul__))
def test_a_client_reads_the_text_that_was_encoded(text: str) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(encode_frame(TEXT, text.encode()))
    assert list(client.events()) == [TextMessage(text)]


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_frame_is_the_one_that_wsproto_makes(length: int) -> None:
    text = "x" * length
    expected = bytes(Connection(ConnectionType.SERVER).send(TextMessage(text)))
    assert encode_frame(TEXT, text.encode()) == expected


def test_a_client_reads_the_code_and_the_reason_of_a_close_frame() -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(encode_close(1008, "bad_message"))
    assert list(client.events()) == [CloseConnection(1008, "bad_message")]


@given(st.binary(min_size=16, max_size=16).map(b64encode))
def test_the_response_to_an_upgrade_is_the_one_that_wsproto_makes(key: bytes) -> None:
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(
        b"GET /upload HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    (request,) = server.events()
    assert isinstance(request, Request)
    response = server.send(AcceptConnection())
    # wsproto 1.2 leaves out the reason phrase, and writes WebSocket.
    response = response.replace(b" 101 \r\n", b" 101 Switching Protocols\r\n")
    assert encode_response(key) == response.replace(b": WebSocket\r\n", b": websocket\r\n")


async def test_nothing_is_sent_after_a_close_frame(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    sender = FrameSender(ours)
    await sender.send(b"first")
    await sender.send(b"last", close=True)
    assert sender.closed
    for close in (False, True):
        await sender.send(b"more", close=close)
    await ours.send_eof()
    assert b"".join([part async for part in theirs]) == b"firstlast"


async def test_nothing_is_sent_after_a_frame_that_was_cut_off(autojump_clock: MockClock) -> None:
    ours, _ = trio.testing.lockstep_stream_pair()
    sender = FrameSender(ours)
    with trio.move_on_after(1) as scope:
        await sender.send(b"nobody reads it")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await sender.send(b"more")


async def test_a_frame_that_is_cancelled_while_it_waits_for_its_turn_ends_nothing() -> None:
    ours, theirs = memory_stream_pair()
    sender = FrameSender(ours)
    with trio.CancelScope() as scope:
        scope.cancel()
        # What `send` does once it has the lock, where it may wait without being cancelled.
        await sender._send_all(b"cancelled")
    assert scope.cancelled_caught
    await sender.send(b"the fault")
    assert await theirs.receive_some(100) == b"the fault"
