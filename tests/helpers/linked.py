"""A WebSocket transport, and its peer at the other end of a memory stream."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing
from helpers.splitting import PART
from helpers.wire import (
    BINARY,
    KEY,
    TEXT,
    Frame,
    RawPeer,
    frame,
    header,
)
from trio.testing import memory_stream_pair

from galileod.net.messages import BinaryMessage, MessagePart
from galileod.net.websocket import WebSocketTransport, open_transport

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
    *,
    ping: float = PATIENCE,
) -> AsyncIterator[tuple[WebSocketTransport, RawPeer, Watched]]:
    """A transport, its peer, and the stream between them."""
    ours, theirs = memory_stream_pair()
    watched, peer = Watched(ours), RawPeer(theirs)
    with trio.fail_after(PATIENCE):
        async with open_transport(
            watched, KEY, surplus, timeout=PATIENCE, ping=ping, part_size=PART
        ) as link:
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


LONG = 4 * PART


def long_frame(length: int, *, final: bool = True, opcode: int = BINARY) -> bytes:
    """A frame of so many bytes, each of which says where it stands."""
    data = bytes(range(251)) * (length // 251 + 1)
    return header(opcode, length, final=final) + data[:length]


async def check_last_words(link: WebSocketTransport, peer: RawPeer, watched: Watched) -> None:
    """Nothing more can be received, but `send` and `finish` work, and at once."""
    began = trio.current_time()
    await link.send('{"error": "x"}', timeout=5)
    assert await link.finish(1008, "bad_message", 5) == "closed by the server: bad_message"
    assert trio.current_time() == began
    words, closing = await rest_of(peer, watched)
    assert json.loads(words.payload) == {"error": "x"}
    assert closing.close_code == 1008
    assert closing.payload[2:] == b"bad_message"
