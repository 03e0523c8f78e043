"""A server in this process: peers reach it over memory streams, so trio's clock is all there is."""

import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from typing import Any, Final, TypeVar, cast

import pytest
import trio
from attrs import define, evolve, field, frozen
from helpers.ledgers import open_inline_ledger
from trio.testing import lockstep_stream_pair, memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from galileod.config.model import Config
from galileod.ledger.base import Ledger
from galileod.ledger.sqlite import SqliteLedger
from galileod.net.addresses import UNIX_PEER
from galileod.net.peer import Peer
from galileod.net.tls import load_context
from galileod.policy.pacing import least_credit
from galileod.policy.settings import Chunks
from galileod.server.connection import Server
from galileod.server.static import load_static
from galileod.shutdown import Shutdown
from galileod.storage.base import Store
from galileod.storage.local import LocalStore
from galileod.storage.state import ledger_path
from galileod.units import Size
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

T = TypeVar("T")

PEER: Final = Peer("test", "test", UNIX_PEER)

PATIENCE: Final = 50_000

KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="

UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_LONG: Final = 126
_LONGER: Final = 127


@frozen
class Frame:
    """One frame as the server sent it."""

    opcode: int
    payload: bytes

    @property
    def signal(self) -> dict[str, Any]:
        """The JSON object in a TEXT frame."""
        assert self.opcode == TEXT, self
        return cast("dict[str, Any]", json.loads(self.payload))

    @property
    def close_code(self) -> int:
        """The code in a Close frame."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2])


def header(opcode: int, length: int, *, final: bool = True, key: bytes | None = bytes(4)) -> bytes:
    """The header of a client's frame; without a key it is not masked, which clients must not do."""
    first = (0x80 if final else 0) | opcode
    masked = 0x80 if key is not None else 0
    if length < _LONG:
        head = struct.pack("!BB", first, masked | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, masked | _LONG, length)
    else:
        head = struct.pack("!BBQ", first, masked | _LONGER, length)
    return head + (key or b"")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    key: bytes | None = b"\x01\x02\x03\x04",
) -> bytes:
    """A client's frame, masked with `key`."""
    head = header(opcode, len(payload), final=final, key=key)
    return head + bytes(byte ^ (key or bytes(4))[at % 4] for at, byte in enumerate(payload))


def text_frame(signal: Mapping[str, object]) -> bytes:
    """A client's signal as a frame."""
    return frame(TEXT, json.dumps(signal).encode())


class RawPeer:
    """The far end of a connection, byte by byte."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def receive_head(self) -> bytes:
        """The response head, up to and with the empty line."""
        while b"\r\n\r\n" not in self._buffer:
            assert await self._read(), bytes(self._buffer)
        end = self._buffer.index(b"\r\n\r\n") + 4
        return self._take(end)

    async def receive_all(self) -> bytes:
        """Everything up to the end of the stream."""
        while await self._read():
            pass
        return self._take(len(self._buffer))

    async def receive_frame(self) -> Frame | None:
        """The server's next frame, or None at the end of the stream."""
        while (length := self._frame_length()) is None or len(self._buffer) < length:
            if not await self._read():
                assert not self._buffer, f"the stream ends within a frame: {self._buffer!r}"
                return None
        data = self._take(length)
        assert data[0] & 0xF0 == 0x80, "the server sends whole messages"
        assert not data[1] & 0x80, "the server does not mask"
        offset = {_LONG: 4, _LONGER: 10}.get(data[1], 2)
        return Frame(data[0] & 0x0F, data[offset:])

    async def receive_frames(self) -> list[Frame]:
        """All frames up to the end of the stream."""
        frames = []
        while received := await self.receive_frame():
            frames.append(received)
        return frames

    async def receive(self) -> dict[str, Any]:
        """The next frame, which must be a signal."""
        received = await self.receive_frame()
        assert received is not None
        return received.signal

    async def receive_after_pings(self) -> tuple[int, dict[str, Any]]:
        """The next signal, and how many Pings came before it; each is answered."""
        pings = 0
        while received := await self.receive_frame():
            if received.opcode != PING:
                return pings, received.signal
            pings += 1
            await self.send(frame(PONG, received.payload))
        raise AssertionError("the stream ends before a signal")

    def _frame_length(self) -> int | None:
        if len(self._buffer) < 2:
            return None
        short = self._buffer[1] & 0x7F
        extended = {_LONG: 2, _LONGER: 8}.get(short, 0)
        if len(self._buffer) < 2 + extended:
            return None
        length = int.from_bytes(self._buffer[2 : 2 + extended]) if extended else short
        return 2 + extended + length

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    async def _read(self) -> bool:
        data = await self.stream.receive_some(65536)
        self._buffer += data
        return bool(data)


class WireClient:
    """A sound WebSocket client."""

    def __init__(self, websocket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.websocket = websocket
        self.stream = stream

    async def send(self, signal: Mapping[str, object]) -> None:
        """Send a signal."""
        await self.websocket.send_message(json.dumps(signal))

    async def send_bytes(self, data: bytes) -> None:
        """Send a BINARY message."""
        await self.websocket.send_message(data)

    async def receive(self) -> dict[str, Any]:
        """The server's next signal."""
        return cast("dict[str, Any]", json.loads(await self.websocket.get_message()))

    async def close(self) -> None:
        """Close in order, as clients do."""
        await self.websocket.aclose()

    async def closed(self) -> tuple[int, str | None]:
        """Wait for the server to close; gives the code and the reason of its Close frame."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.websocket.get_message()
        reason = closed.value.reason
        assert reason is not None
        return reason.code, reason.reason

    async def upload(
        self, name: str, data: bytes, finished: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """Send a file as the original client does; gives the signal that ended it."""
        await self.send({"name": name, "size": len(data)})
        offset = 0
        while True:
            signal = await self.receive()
            if not signal.get("ready"):
                return signal
            if offset < len(data):
                chunk = data[offset : offset + signal["chunksize"]]
                await self.send_bytes(chunk)
                offset += len(chunk)
            else:
                await self.send({"finished": True, **(finished or {})})


@define
class Wire:
    """A server and its peers."""

    server: Server
    context: Context
    ledger: Ledger
    nursery: trio.Nursery
    _ends: list[trio.Event] = field(factory=list)

    @property
    def shutdown(self) -> Shutdown:
        """To stop the server by."""
        return self.context.shutdown

    def serve(self, stream: trio.abc.HalfCloseableStream, peer: Peer = PEER) -> trio.Event:
        """Let the server serve `stream`; the event is set when it is done with it."""
        ended = trio.Event()

        async def serve() -> None:
            try:
                await self.server.serve(stream, peer)
            finally:
                ended.set()

        self._ends.append(ended)
        self.nursery.start_soon(serve)
        return ended

    def connect(self, peer: Peer = PEER, *, lockstep: bool = False) -> RawPeer:
        """A new connection. In lockstep each side's sending waits until the other side has read."""
        ours, theirs = lockstep_stream_pair() if lockstep else memory_stream_pair()
        self.serve(theirs, peer)
        return RawPeer(ours)

    async def request(self, head: bytes, peer: Peer = PEER) -> bytes:
        """Send a request head; gives the whole answer, up to the end of the connection."""
        raw = self.connect(peer)
        await raw.send(head)
        answer = await raw.receive_all()
        await raw.stream.aclose()
        return answer

    async def open_raw(self, *, lockstep: bool = False, peer: Peer = PEER) -> RawPeer:
        """A connection that was upgraded, without a WebSocket library on this side."""
        raw = self.connect(peer, lockstep=lockstep)
        await raw.send(UPGRADE)
        assert (await raw.receive_head()).startswith(b"HTTP/1.1 101 ")
        return raw

    async def open(self, peer: Peer = PEER) -> WireClient:
        """A connection that was upgraded, with a WebSocket library on this side."""
        raw = self.connect(peer)
        # Any stream will do, whatever the library's annotation says.
        stream = cast("trio.SocketStream", raw.stream)
        websocket = await wrap_client_stream(self.nursery, stream, "test", "/")
        return WireClient(websocket, raw.stream)

    async def all_ended(self) -> None:
        """Wait until the server is done with every connection made so far."""
        for ended in self._ends:
            await ended.wait()


@asynccontextmanager
async def serving(
    store: Store,
    config: Config | None = None,
    *,
    settled: bool = True,
    ledger: Ledger | None = None,
) -> AsyncIterator[Wire]:
    """A server over `store`; whatever is still connected at the end is cut off.

    After that nothing is held any more: no upload, no memory, and, if `settled`, no quota.
    """
    config = config or Config()
    # However little room the machine has, there is enough for these files.
    config = evolve(config, storage=evolve(config.storage, min_free=Size(0)))
    # Beside a store that works in threads the real ledger; beside trio's jumping clock one without.
    if ledger is None:
        ledger = (
            SqliteLedger.open(ledger_path(store.location))
            if isinstance(store, LocalStore)
            else open_inline_ledger()
        )
    chunks = config.chunks
    pool = MemoryPool(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
    with closing(ledger):
        context = Context(config, store, ledger, pool)
        server = Server(context, load_static(config), load_context(config.tls))
        # On a clock that jumps, a test that waits for what never comes ends here, at once.
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                yield Wire(server, context, ledger, nursery)
                nursery.cancel_scope.cancel()
        assert not context.admission.running
        assert context.pool.share.held == 0
        assert not settled or all(not holding.uploads for holding in ledger.holdings().values())


def with_chunks(size: int, in_flight: int, config: Config | None = None) -> Config:
    """A configuration with chunks of exactly `size` bytes; smaller ones than a file may set.

    Small files are stored chunk by chunk, too.
    """
    chunks = Chunks(min=Size(size), max=Size(size), max_in_flight=in_flight, whole=Size(0))
    return evolve(config or Config(), chunks=chunks)


STREAMED: Final = Config(chunks=Chunks(whole=Size(0)))
"""A configuration with which small files are stored chunk by chunk, as large ones are."""
