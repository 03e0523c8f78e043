"""Section 6, judging a server: the connection, and frames, valid and not."""

import secrets
from collections import deque
from typing import Any, Final

import attrs
from websockets.frames import Opcode

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import check_stored
from galileod.conformance.cases._wire import send_parts, split, to_json
from galileod.conformance.events import Close, Ended, Event, Message, Nothing, Pong
from galileod.conformance.frames import encode
from galileod.conformance.handshake import HandshakeError, Headers, Refused
from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection, digest

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
PING, PONG = Opcode.PING, Opcode.PONG

MASK: Final = bytes.fromhex("37fa213d")


@attrs.define
class _Upload:
    """An upload frame by frame, however many credits the server sends in advance."""

    connection: ServerConnection
    requirement: str
    _credits: deque[dict[str, Any]] = attrs.field(factory=deque, init=False)

    async def limit(self) -> int:
        """The bytes that the next chunk may have."""
        if self._credits:
            ready = self._credits.popleft()
        else:
            ready = await self.connection.expect_ready(self.requirement)
        limit = ready.get("chunksize")
        return limit if isinstance(limit, int) and limit > 0 else DEFAULT_CHUNK

    async def pong(self, payload: bytes) -> bool:
        """Whether a Pong with this payload comes; credits that come before it are kept."""
        while True:
            event = await self.connection.websocket.receive()
            if isinstance(event, Pong) and event.data == payload:
                return True
            if isinstance(event, Close | Ended | Nothing):
                return False
            signal = as_signal(event)
            if signal is not None and signal.get("ready"):
                self._credits.append(signal)


@server_case(
    "6.1.1",
    "A handshake is answered as RFC 6455 says, and nothing is selected that was not offered.",
    requirements=("S6.1",),
)
async def handshake(server: Server, judge: Judge) -> None:
    """A plain handshake, and one with headers that browsers and proxies add."""
    added: Headers = (
        ("Connection", "keep-alive"),
        ("User-Agent", "galileo-conformance"),
        ("Cache-Control", "no-cache"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "192.0.2.1"),
    )
    for headers in ((), added):
        name, content = server.name(), secrets.token_bytes(1000)
        try:
            async with server.connect(headers=headers, content=content) as connection:
                await connection.upload(name, content, requirement="S6.1")
        except HandshakeError as error:
            judge.fail("S6.1", str(error))


@server_case(
    "6.1.2",
    "Subprotocols and extensions that the server does not know do not prevent an upload.",
    requirements=("S6.1",),
)
async def offers(server: Server, judge: Judge) -> None:
    """Offers of names that no server knows."""
    headers: Headers = (
        ("Sec-WebSocket-Extensions", "x-galileo-conformance; a=1"),
        ("Sec-WebSocket-Protocol", "x-galileo-conformance"),
    )
    name, content = server.name(), secrets.token_bytes(1000)
    try:
        async with server.connect(headers=headers, content=content) as connection:
            await connection.upload(name, content, requirement="S6.1")
    except HandshakeError as error:
        judge.fail("S6.1", str(error))
    except Refused as refused:
        judge.unsupported(f"the server takes no handshake with offers: {refused}")


@server_case(
    "6.1.3",
    "Messages in fragments, with empty ones and control frames between them, are accepted.",
    requirements=("S6.2",),
)
async def fragments(server: Server, judge: Judge) -> None:
    """Metadata, chunks and finished in fragments; a character is divided between two of them."""
    name, content = server.name("-é€.bin"), secrets.token_bytes(5000)
    async with server.connect(content=content) as connection:
        upload = _Upload(connection, "S6.2")
        metadata = _metadata(connection, name, len(content))
        middle = metadata.index("é".encode()) + 1
        await send_parts(connection.websocket, split(TEXT, metadata, middle, middle, middle + 3))
        sent = 0
        while sent < len(content):
            chunk = content[sent : sent + await upload.limit()]
            await send_parts(connection.websocket, split(BINARY, chunk, 0, 1, 1, len(chunk) // 2))
            sent += len(chunk)
        await upload.limit()
        finished = to_json({"finished": True, "hash": digest(content)})
        await send_parts(connection.websocket, split(TEXT, finished, 0, 3, len(finished)))
        close = await connection.expect_close("S6.2")
        await check_stored(server, judge, "S6.2", close.get("name", name), content)


@server_case(
    "6.1.4",
    "Frames are accepted however TCP splits or joins them, with lengths in each form.",
    requirements=("S6.3",),
)
async def segments(server: Server, judge: Judge) -> None:
    """Metadata byte by byte; frames joined; payloads around the limits of the length's forms."""
    sizes = (0, 1, 125, 126, 127, 65_535, 65_536)
    name, content = server.name(), secrets.token_bytes(sum(sizes) + 1000)
    async with server.connect(content=content) as connection:
        upload, websocket = _Upload(connection, "S6.3"), connection.websocket
        for byte in _frame(TEXT, _metadata(connection, name, len(content))):
            await websocket.send_raw(bytes([byte]))
        sent = 0
        for size in sizes[1:]:
            chunk = content[sent : sent + min(size, await upload.limit())]
            frame = _frame(BINARY, chunk)
            await websocket.send_raw(frame[:3])  # within the length
            await websocket.send_raw(frame[3:])
            sent += len(chunk)
        while sent < len(content):
            chunk = content[sent : sent + await upload.limit()]
            parts = split(BINARY, chunk, len(chunk) // 3, len(chunk) // 2)
            joined = b"".join(_frame(*part) for part in parts)
            await websocket.send_raw(_frame(PONG, b"joined") + joined + _frame(PONG, b""))
            sent += len(chunk)
        await upload.limit()
        finished = _frame(TEXT, to_json({"finished": True, "hash": digest(content)}))
        await websocket.send_raw(finished[:-1])
        await websocket.send_raw(finished[-1:])
        close = await connection.expect_close("S6.3")
        await check_stored(server, judge, "S6.3", close.get("name", name), content)


@server_case(
    "6.1.5",
    "Each Ping is answered by a Pong of the same payload, also within an upload and a message.",
    requirements=("S6.4",),
)
async def pings(server: Server, judge: Judge) -> None:
    """Before the metadata, between two chunks, between two fragments, and before finished."""
    name, content = server.name(), secrets.token_bytes(3000)
    async with server.connect(content=content) as connection:
        upload, websocket = _Upload(connection, "S6.4"), connection.websocket

        async def ping(payload: bytes, where: str) -> None:
            await websocket.send_ping(payload)
            came = await upload.pong(payload)
            what = f"expected a Pong with the {len(payload)} bytes of the Ping {where}"
            judge.require("S6.4", came, f"{what}, but none came")

        await ping(b"", "before the metadata")
        await connection.send_metadata(name, len(content))
        first = content[: min(1000, await upload.limit())]
        await ping(bytes(range(125)), "before the first chunk")
        await websocket.send_frame(BINARY, first[:500], fin=False)
        await ping(b"between two fragments", "between two fragments")
        await websocket.send_frame(CONT, first[500:])
        sent = len(first)
        while sent < len(content):
            chunk = content[sent : sent + await upload.limit()]
            await ping(str(sent).encode(), "between two chunks")
            await connection.send_chunk(chunk)
            sent += len(chunk)
        await upload.limit()
        await ping(b"\xff\x00", "before finished")
        await connection.send_finished(content)
        await connection.expect_close()


@server_case(
    "6.1.6",
    "The server's frames are valid by RFC 6455 and not masked: signals, errors, Pong and Close.",
    requirements=("S6.5",),
)
async def valid_frames(server: Server, judge: Judge) -> None:
    """An upload with Pings, and one that fails. What is wrong is found when it is received."""
    del judge
    name, content = server.name(), secrets.token_bytes(3000)
    async with server.connect(content=content) as connection:
        await connection.websocket.send_ping(b"valid?")
        await connection.upload(name, content)
    async with server.connect() as connection:
        await connection.send_chunk(b"before the metadata")
        await connection.expect_error()


def _invalid_frames() -> dict[str, tuple[bytes, ...]]:
    """What a client must not send behind the first ready, frame by frame."""
    data = b"0123456789"
    begun = _frame(BINARY, data[:3], fin=False)
    masked = _frame(BINARY, data)
    return {
        "a frame that is not masked": (encode(BINARY, data, fin=True, rsv=0, mask=None),),
        "a frame with RSV1": (_frame(BINARY, data, rsv=4),),
        "a frame with RSV2": (_frame(BINARY, data, rsv=2),),
        "a frame with RSV3": (_frame(BINARY, data, rsv=1),),
        "a frame with the opcode 3": (_frame(3, data),),
        "a frame with the opcode 11": (_frame(11, data),),
        "a Ping that is not the last fragment": (_frame(PING, b"", fin=False), masked),
        "a Ping of 126 bytes": (_frame(PING, bytes(126)), masked),
        "a continuation of nothing": (_frame(CONT, data),),
        "a message within a message": (begun, masked),
    }


@server_case(
    "6.1.7",
    "An invalid frame makes the upload fail, with a fatal error before the Close frame.",
    requirements=("S6.6", "S6.9"),
    seconds=70,  # ten times the patience, and a reserve
)
async def invalid_frames(server: Server, judge: Judge) -> None:
    """Each kind of invalid frame on a connection of its own, where a chunk is expected."""
    for what, frames in _invalid_frames().items():
        async with server.connect() as connection:
            await connection.send_metadata(server.name(), 10)
            await connection.expect_ready()
            for frame in frames:
                await connection.websocket.send_raw(frame)
            await _expect_failure(connection, judge, "S6.6", what)


@server_case(
    "6.1.8",
    "A TEXT message that is not UTF-8 makes the upload fail, with a fatal error before the Close.",
    requirements=("S6.7", "S6.9"),
)
async def invalid_text(server: Server, judge: Judge) -> None:
    """A byte that is never in UTF-8, a form that is too long, a surrogate, and a character cut off.

    In the metadata, and where finished is expected.
    """
    for wrong in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82"):
        async with server.connect() as connection:
            metadata = _metadata(connection, server.name("-#.bin"), 10)
            await connection.websocket.send_text(metadata.replace(b"#", wrong))
            await _expect_failure(connection, judge, "S6.7", f"the name with {wrong.hex(' ')}")
    async with server.connect() as connection:
        await connection.send_metadata(server.name(), 0)
        await connection.expect_ready()
        await connection.websocket.send_text(b'{"finished": true, "x": "\xff"}')
        await _expect_failure(connection, judge, "S6.7", "finished with ff")


@server_case(
    "6.1.9",
    "A Close frame is answered by a Close frame, whenever it comes.",
    requirements=("S6.8",),
)
async def closing(server: Server, judge: Judge) -> None:
    """Before the metadata, without a code; within an upload; after close; after a fatal error."""
    async with server.connect() as connection:
        await connection.websocket.send_close(None)
        await _expect_close_frame(connection, judge, "before the metadata")
    async with server.connect() as connection:
        await connection.send_metadata(server.name(), 10)
        await connection.expect_ready()
        await connection.websocket.send_close(1001, "going away")
        await _expect_close_frame(connection, judge, "within an upload")
    name, content = server.name(), b"0123456789"
    async with server.connect(content=content) as connection:
        await connection.upload(name, content)
        await connection.websocket.send_close(1000)
        await _expect_close_frame(connection, judge, "after close")
    async with server.connect() as connection:
        await connection.send_chunk(b"before the metadata")
        await connection.expect_error()
        await connection.websocket.send_close(1000)
        await _expect_close_frame(connection, judge, "after a fatal error")


async def _expect_failure(
    connection: ServerConnection, judge: Judge, requirement: str, what: str
) -> None:
    """The server sends a fatal error, a Close frame or the end; `ready` may come before."""
    event: Event = await connection.message()
    while (signal := as_signal(event)) is not None and signal.get("ready"):
        event = await connection.message()
    error = signal is not None and signal.get("error") and signal.get("fatal")
    ends = isinstance(event, Close | Ended)
    expected = f"expected a fatal error or the end after {what}"
    if judge.check(requirement, error or ends, f"{expected}, {describe(event)}"):
        judge.check("S6.9", error, f"expected a fatal error after {what}, {describe(event)}")
    await connection.websocket.aclose()  # the server may take its time to close such a connection


async def _expect_close_frame(connection: ServerConnection, judge: Judge, where: str) -> None:
    event = await connection.message()
    while isinstance(event, Message):
        event = await connection.message()
    sentence = f"expected a Close frame as the answer to one {where}, {describe(event)}"
    judge.check("S6.8", isinstance(event, Close), sentence)


def _frame(opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> bytes:
    return encode(opcode, payload, fin=fin, rsv=rsv, mask=MASK)


def _metadata(connection: ServerConnection, name: str, size: int) -> bytes:
    token = {} if connection.token is None else {"token": connection.token}
    return to_json({"name": name, "size": size, **token})
