"""A client for the cases of sections 6, 7 and 11: correct, or wrong in one requirement."""

import base64
import hashlib
import json
import secrets
import zlib
from collections import deque
from typing import Any, Final

import attrs
import trio
from conformance.in_process import Connect, Stream
from websockets.frames import Opcode
from websockets.utils import accept_key

from galileod.conformance.events import Close, Message, Ping, Violation
from galileod.conformance.frames import Decoder, Frame, Received, encode

CHUNK: Final = 250_000

Signal = dict[str, Any]


@attrs.frozen
class WireClient:
    """Sends a file on one connection, and does not try again."""

    broken: str | None = None
    """The requirement that it violates."""

    async def __call__(self, connect: Connect, content: bytes, name: str) -> bool:
        async with await connect() as stream:
            session = _Session(self.broken, stream, content, name)
            try:
                return await session.run()
            except trio.BrokenResourceError:
                return False  # the server is gone


class _Session:
    """One connection."""

    def __init__(self, broken: str | None, stream: Stream, content: bytes, name: str) -> None:
        self.broken, self.stream = broken, stream
        self.content, self.name = content, name
        self.decoder = Decoder(masked=False)
        self.pending: deque[tuple[Frame | None, Received | None]] = deque()
        self.sent = 0
        self.finished = False

    async def run(self) -> bool:
        if not await self.handshake():
            return False
        await self.send_metadata()
        success: bool | None = None
        while success is None and (pair := await self.receive()) is not None:
            success = await self.take(*pair)
        return bool(success)

    async def take(self, frame: Frame | None, event: Received | None) -> bool | None:
        """Take a frame; return whether the upload has succeeded, None while it goes on."""
        if isinstance(event, Violation) and self.broken != "C6.6":
            return False
        if self.broken == "C6.4" and frame is not None and not frame.fin:
            return False
        if isinstance(event, Ping) and self.broken != "C6.5":
            await self.send_frame(Opcode.PONG, event.data)
        elif isinstance(event, Close):
            if self.broken != "C6.9":
                await self.send_frame(Opcode.CLOSE, (event.code or 1000).to_bytes(2))
            return self.broken == "C6.7"
        elif isinstance(event, Message):
            success = await self.take_signal(event)
            if success is not None:
                await self.close()
            return success
        return None

    async def close(self) -> None:
        if self.broken != "C11.2":
            await self.send_frame(Opcode.CLOSE, (1000).to_bytes(2))
        while await self.receive() is not None:
            pass

    async def handshake(self) -> bool:
        fresh = secrets.token_bytes(16) if self.broken != "C6.1" else bytes(16)
        key = base64.b64encode(fresh).decode()
        offer = b"Sec-WebSocket-Extensions: x-deflate\r\n" if self.broken == "C6.10" else b""
        await self.stream.send_all(
            b"GET /upload HTTP/1.1\r\nHost: kit.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: " + key.encode() + b"\r\n" + offer + b"\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = bytes(await self.stream.receive_some(4096))
            if not data:
                return False
            answer += data
        head, rest = answer.split(b"\r\n\r\n", 1)
        if self.broken == "C6.2":
            return True
        self.pending.extend(self.decoder.feed(rest))
        accept = f"Sec-WebSocket-Accept: {accept_key(key)}".encode()
        return head.startswith(b"HTTP/1.1 101 ") and accept in head.split(b"\r\n")

    async def receive(self) -> tuple[Frame | None, Received | None] | None:
        while not self.pending:
            data = bytes(await self.stream.receive_some(65_536))
            if not data:
                return None
            self.pending.extend(self.decoder.feed(data))
        return self.pending.popleft()

    async def send_metadata(self) -> None:
        size = len(self.content)
        if self.broken == "C7.3":
            size %= 2**32
        name = f"folder/{self.name}" if self.broken == "C7.2" else self.name
        text = json.dumps({"name": name, "size": size})
        if self.broken == "C7.1":
            text = f'{{"name": "{self.name}", "size": {size}}}'
        await self.send_frame(Opcode.TEXT, text.encode())

    async def take_signal(self, message: Message) -> bool | None:
        """Answer a signal; return whether the upload has succeeded, None while it goes on."""
        try:
            signal = json.loads(message.data)
        except ValueError:
            return False
        if not isinstance(signal, dict):
            return False
        if signal.get("error"):
            ignored = self.broken == "C11.3" and "code" not in signal
            return False if signal.get("fatal") and not ignored else None
        if signal.get("ready"):
            if self.broken == "C11.1" and "chunksize" not in signal:
                return False
            await self.answer_ready(signal.get("chunksize") or CHUNK)
        elif signal.get("close"):
            return self.finished
        return None

    async def answer_ready(self, limit: int) -> None:
        if self.sent < len(self.content):
            chunk = self.content[self.sent : self.sent + limit]
            self.sent += len(chunk)
            await self.send_frame(Opcode.BINARY, chunk)
            return
        self.finished = True
        value = hashlib.sha1(self.content, usedforsecurity=False).hexdigest()
        finished = {"finished": True, "hash": {"type": "sha1", "value": value}}
        await self.send_frame(Opcode.TEXT, json.dumps(finished).encode())

    async def send_frame(self, opcode: int, payload: bytes) -> None:
        mask = secrets.token_bytes(4) if self.broken != "C6.3" else None
        rsv = 0
        if self.broken == "C6.8" and opcode == Opcode.BINARY:
            deflate = zlib.compressobj(wbits=-15)
            payload, rsv = deflate.compress(payload) + deflate.flush(), 4
        await self.stream.send_all(encode(opcode, payload, fin=True, rsv=rsv, mask=mask))
