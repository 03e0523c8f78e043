"""Section 6, judging a client: the connection, and frames, valid and not."""

import base64
import secrets
from typing import Final

import trio
from websockets.frames import Opcode
from websockets.utils import accept_key

from galileod.conformance.case import client_case
from galileod.conformance.cases._wire import send_parts, split, to_json
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close, Ended, Event, Message, Nothing, Pong
from galileod.conformance.frames import encode
from galileod.conformance.handshake import Answer, Request
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal, describe

TEXT, CONT, PING, PONG = Opcode.TEXT, Opcode.CONT, Opcode.PING, Opcode.PONG

MASK: Final = bytes.fromhex("37fa213d")
READY: Final = b'{"ready":true}'


@client_case(
    "6.2.1",
    "The handshake is valid by RFC 6455, with a new key for each connection.",
    requirements=("C6.1",),
)
async def handshake(client: Client, judge: Judge) -> None:
    """Each handshake is judged when it is received; here the keys of two are compared."""
    keys = []
    for name in ("first.bin", "second.bin"):
        content = secrets.token_bytes(100)
        async with client.send(content, name) as run:
            connection = await run.accept()
            await connection.receive_file()
            await connection.close_signal()
            await run.outcome()
            keys += [request.key for request in run.requests]
    judge.check(
        "C6.1",
        len(set(keys)) == len(keys),
        f"expected a new key for each handshake, but {keys} came",
    )


def _refuse(status: str, body: bytes = b"refused\n") -> Answer:
    async def answer(stream: trio.abc.Stream, request: Request) -> None:
        del request
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return answer


def _accept_as(value: str | None) -> Answer:
    """Status 101 with this Sec-WebSocket-Accept; None: without it."""

    async def answer(stream: trio.abc.Stream, request: Request) -> None:
        del request
        accept = "" if value is None else f"Sec-WebSocket-Accept: {value}\r\n"
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        await stream.send_all(f"{head}{accept}\r\n".encode())

    return answer


@client_case(
    "6.2.2",
    "Another status than 101, or a wrong Sec-WebSocket-Accept, is a failure; no metadata follow.",
    requirements=("C6.2",),
)
async def refusals(client: Client, judge: Judge) -> None:
    """Statuses after which a client has no reason to try again, and two wrong answers with 101."""
    other = accept_key(base64.b64encode(bytes(16)).decode())
    answers = {
        "the status 404": _refuse("404 Not Found"),
        "the status 200": _refuse("200 OK"),
        "a Sec-WebSocket-Accept for another key": _accept_as(other),
        "no Sec-WebSocket-Accept": _accept_as(None),
    }
    for what, answer in answers.items():
        async with client.send(b"some data", answer=answer) as run:
            connection = await run.accept()
            event = await connection.silent()
            silent = not isinstance(event, Message)
            judge.check("C6.2", silent, f"expected no message after {what}, {describe(event)}")
            await connection.websocket.aclose()
            outcome = await run.outcome()
            judge.check("C6.2", not outcome.success, f"expected failure after {what}, got success")


@client_case(
    "6.2.3",
    "The client's frames are valid by RFC 6455 and masked: signals, chunks, Pong and Close.",
    requirements=("C6.3",),
)
async def valid_frames(client: Client, judge: Judge) -> None:
    """Chunks around the limits of the length's forms. Each frame is judged when it comes."""
    sizes = (1, 125, 126, 65_535, 65_536)
    content = secrets.token_bytes(sum(sizes))
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.websocket.send_ping(b"valid?")
        sent = 0
        for size in sizes:
            await connection.ready(size)
            end = sent + size
            while sent < end:
                sent += len(chunk := await connection.chunk())
                if not chunk or sent < end:
                    await connection.ready(end - sent)
        await connection.ready()
        await connection.finished()
        await connection.close_signal()
        outcome = await run.outcome()
        judge.check(None, outcome.success, f"expected success, got failure: {outcome.output}")


@client_case(
    "6.2.4",
    "Signals in fragments, with control frames between them, and split or joined, are accepted.",
    requirements=("C6.4",),
)
async def fragments(client: Client, judge: Judge) -> None:
    """The first ready in fragments, the next ones byte by byte and joined, close in fragments."""
    content = secrets.token_bytes(6000)
    async with client.send(content) as run:
        connection = await run.accept()
        websocket = connection.websocket
        await connection.metadata()
        ready = to_json({"ready": True, "chunksize": 2000, "x": "é€"})
        middle = ready.index("é".encode()) + 1
        await send_parts(connection.websocket, split(TEXT, ready, 0, 5, 5, middle))
        chunks = [await connection.chunk("C6.4")]
        plain = _frame(TEXT, to_json({"ready": True, "chunksize": 2000}))
        for byte in plain:
            await websocket.send_raw(bytes([byte]))
        chunks.append(await connection.chunk("C6.4"))
        rest = len(content) - sum(map(len, chunks))
        last = _frame(TEXT, to_json({"ready": True, "chunksize": rest}))
        parts = b"".join(_frame(*part) for part in split(TEXT, READY, 3, 9))
        await websocket.send_raw(_frame(PONG, b"joined") + last + _frame(PONG, b"") + parts[:7])
        chunks.append(await connection.chunk("C6.4"))
        await websocket.send_raw(parts[7:])
        while sum(map(len, chunks)) < len(content):  # a client may send less than its credit
            chunks.append(await connection.chunk("C6.4"))
            await connection.ready()
        await connection.finished("C6.4")
        close = to_json({"close": True, "x": "é€"})
        await send_parts(connection.websocket, split(TEXT, close, 1, close.index("é".encode()) + 1))
        outcome = await run.outcome()
        judge.check("C6.4", outcome.success, f"expected success, got failure: {outcome.output}")
        same = b"".join(chunks) == content
        judge.check("C6.4", same, "expected the bytes of the file, but others came")


@client_case(
    "6.2.5",
    "A Ping is answered by a Pong of the same payload while the client waits for a signal.",
    requirements=("C6.5",),
)
async def pings(client: Client, judge: Judge) -> None:
    """Behind the metadata, within the file, and behind finished; between two fragments too."""
    content = secrets.token_bytes(2000)
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await _ping(connection, judge, b"", "after the metadata")
        await connection.ready(1000)
        rest = content[len(await connection.chunk()) :]
        await _ping(connection, judge, bytes(range(125)), "after a chunk")
        while rest:
            await connection.ready(len(rest))
            rest = rest[len(await connection.chunk()) :]
        await connection.websocket.send_frame(TEXT, READY[:4], fin=False)
        await _ping(connection, judge, b"within a signal", "between two fragments")
        await connection.websocket.send_frame(CONT, READY[4:])
        await connection.finished()
        await _ping(connection, judge, b"\xff\x00", "after finished")
        await connection.close_signal()
        await run.outcome()


async def _ping(connection: ClientConnection, judge: Judge, payload: bytes, where: str) -> None:
    await connection.websocket.send_ping(payload)
    event = await connection.websocket.receive()
    while event != Pong(payload) and not isinstance(event, Close | Ended | Nothing | Message):
        event = await connection.websocket.receive()  # a client may send Pings, and other Pongs
    same = event == Pong(payload)
    expected = f"expected a Pong with the {len(payload)} bytes of the Ping {where}"
    judge.require("C6.5", same, f"{expected}, {describe(event)}")


def _invalid_frames() -> dict[str, bytes]:
    """What a server must not send; a client that overlooks the mistake reads `ready`."""
    begun, ready = _frame(TEXT, b'{"x":', fin=False), _frame(TEXT, READY)
    return {
        "a masked frame": encode(TEXT, READY, fin=True, rsv=0, mask=MASK),
        "a frame with RSV1": _frame(TEXT, READY, rsv=4),
        "a frame with the opcode 3": _frame(3, READY) + ready,
        "a Ping that is not the last fragment": _frame(PING, b"", fin=False) + ready,
        "a Ping of 126 bytes": _frame(PING, bytes(126)) + ready,
        "a continuation of nothing": _frame(CONT, READY) + ready,
        "a message within a message": begun + ready,
    }


@client_case(
    "6.2.6",
    "An invalid frame is a failure of the upload.",
    requirements=("C6.6",),
)
async def invalid_frames(client: Client, judge: Judge) -> None:
    """Each kind in an upload of its own, where ready is expected."""
    for what, frames in _invalid_frames().items():
        await _expect_failure(client, judge, what, frames)


@client_case(
    "6.2.7",
    "A TEXT message that is not UTF-8 is a failure of the upload.",
    requirements=("C6.6",),
)
async def invalid_text(client: Client, judge: Judge) -> None:
    """A byte that is never in UTF-8, and a surrogate, in a key that no client knows."""
    for wrong in (b"\xff", b"\xed\xa0\x80"):
        text = b'{"ready":true,"x":"' + wrong + b'"}'
        what = f"a signal with the bytes {wrong.hex(' ')}"
        await _expect_failure(client, judge, what, _frame(TEXT, text))


async def _expect_failure(client: Client, judge: Judge, what: str, frames: bytes) -> None:
    """Send `frames` behind the metadata, then go on as if nothing were wrong with them."""
    content = b"some data"
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.websocket.send_raw(frames)
        while isinstance(event := await connection.message(), Message):
            signal = as_signal(event)
            if signal is not None and signal.get("finished"):
                await connection.close_signal()
                break
            await connection.ready()
        outcome = await run.outcome()
        judge.check("C6.6", not outcome.success, f"expected failure after {what}, got success")


@client_case(
    "6.2.8",
    "A Close frame before close is a failure, whatever its code, and is answered.",
    requirements=("C6.7", "C6.9"),
)
async def early_close_frames(client: Client, judge: Judge) -> None:
    """Behind the metadata, within the file, and behind finished."""
    content = secrets.token_bytes(2000)
    for where, code in (("the metadata", 1000), ("a chunk", None), ("finished", 1000)):
        async with client.send(content) as run:
            connection = await run.accept()
            await connection.metadata()
            if where == "a chunk":
                await connection.ready(1000)
                await connection.chunk()
            elif where == "finished":
                await connection.receive_content(len(content))
            await connection.websocket.send_close(code)
            event: Event = await connection.message()
            while isinstance(event, Message):
                event = await connection.message()
            answered = f"expected a Close frame as the answer to one after {where}"
            judge.check("C6.9", isinstance(event, Close), f"{answered}, {describe(event)}")
            await connection.websocket.aclose()
            outcome = await run.outcome()
            sentence = f"expected failure after a Close frame after {where}, got success"
            judge.check("C6.7", not outcome.success, sentence)


@client_case(
    "6.2.9",
    "A client uses no WebSocket extension that was not selected, and offers none.",
    requirements=("C6.8", "C6.10"),
)
async def extensions(client: Client, judge: Judge) -> None:
    """The kit selects none. The file can be compressed well."""
    content = bytes(100_000)
    async with client.send(content) as run:
        connection = await run.accept()
        offered = run.requests[0].extensions if run.requests else ""
        judge.check(
            "C6.10", not offered, f"expected no offer of an extension, but {offered!r} came"
        )
        received = await connection.receive_file(requirement="C6.8")
        same = received.content == content
        judge.check("C6.8", same, "expected the bytes of the file, but others came")
        await connection.close_signal()
        outcome = await run.outcome()
        judge.check("C6.8", outcome.success, f"expected success, got failure: {outcome.output}")


def _frame(opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> bytes:
    return encode(opcode, payload, fin=fin, rsv=rsv, mask=None)
