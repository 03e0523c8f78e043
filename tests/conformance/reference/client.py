"""A classic client that is correct, unless a switch makes it violate one requirement.

It has nothing of galileod but the kit's handshake and WebSocket.
"""

import hashlib
import json
from collections import deque
from typing import Any, Final

import attrs
import trio
from conformance.in_process import ADDRESS, Connect
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Event, Message, Nothing, Violation
from galileod.conformance.handshake import request_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

SWITCHES: Final = {
    "C1.1": "sends its metadata as a BINARY message",
    "C1.1 finished": "sends finished as a BINARY message",
    "C1.2": "fails if it does not know a key",
    "C1.3": "takes only true for true",
    "C1.3 fatal": "takes only true for true in `fatal`",
    "C1.4": "ignores what is not JSON",
    "C1.4 object": "ignores JSON that is not an object",
    "C1.5": "tests for close first, then for ready, then for error",
    "C1.6": "takes a key that is present for truthy",
    "C1.7": "fails if it does not know a signal",
    "C1.8": "answers a warning with a signal of its own",
    "C1.9": "fails if a signal has more than 8 KiB",
    "C1.10": "ignores BINARY messages",
    "C2.1": "sends the size as a string",
    "C2.1 first": "sends another signal before the metadata",
    "C2.2": "states one byte more than the file has",
    "C2.3": "sends the metadata again after a warning",
    "C2.4": "states a directory",
    "C2.6": "states a modification time with a fraction",
    "C2.5": "sends a chunk directly behind the metadata",
    "C3.1": "answers a ready with two chunks",
    "C3.1 silence": "does not answer the second ready",
    "C3.2": "sends chunks of the largest chunksize that has come, whatever the later ones are",
    "C3.2 order": "uses the newest credit first",
    "C3.3": "sends 300,000 bytes if there is no chunksize",
    "C3.4": "sends the beginning of the file again",
    "C3.5": "fails if more than 1,000 credits are unanswered",
    "C4.1": "answers the first ready behind the last byte with an empty chunk",
    "C4.1 early": "sends finished directly behind the last byte",
    "C4.2": "sends the hash of a part of the file",
    "C4.3": "answers a ready after finished with a byte of the file",
    "C4.4": "reports failure after close",
    "C4.5": "takes every close for success",
    "C4.5 frame": "takes a Close frame with the code 1000 for success",
    "C4.5 end": "takes the end of the connection for success",
    "C4.6": "sends no Close frame",
    "C4.7": "answers each ready with an empty chunk if the file is empty",
    "C5.1": "continues after a fatal error",
    "C5.1 report": "reports success after a fatal error",
    "C5.2": "ends the upload after a warning",
    "C5.3": "fails if `error` is not a string",
    "C5.3 empty": "ignores an error that is an empty object or an empty list",
    "C5.5": "tries again after a fatal error",
}
"""The requirement that each switch violates, and how. A second word tells switches for the same
requirement apart."""

DEFAULT_CHUNK: Final = 250_000
PATIENCE: Final = 60.0
"""Seconds that the client waits for the server."""
AT_ONCE: Final = 0.001
"""Seconds, of the mock clock, in which all signals arrive that were sent already."""
LARGE: Final = 8192
TOO_MANY: Final = 1000
RETRY: Final = 0.5


@attrs.frozen
class ReferenceClient:
    """Sends files. `reads_ahead`: it reads all signals that have arrived before it answers one."""

    broken: str = ""
    reads_ahead: bool = False

    async def send(self, connect: Connect, content: bytes, name: str) -> bool:
        """Send a file; return whether it reports success."""
        while True:
            async with await connect() as stream:
                rest = await request_upgrade(stream, ADDRESS.authority, ADDRESS.target, ())
                transcript = Transcript(trio.current_time)
                websocket = WebSocket(stream, "client", 1, transcript, PATIENCE, rest)
                upload = _Upload(websocket, content, name, self.broken, self.reads_ahead)
                success = await upload.run()
            if not (self.broken == "C5.5" and upload.refused):
                return success
            await trio.sleep(RETRY)


@attrs.define
class _Upload:
    websocket: WebSocket
    content: bytes
    name: str
    broken: str
    reads_ahead: bool
    refused: bool = False
    credits: deque[int] = attrs.field(factory=deque)
    sent: int = 0
    finished: bool = False
    largest: int = 0
    answers: int = 0
    has_sent_empty: bool = False

    async def run(self) -> bool:
        await self.send_metadata()
        if self.broken == "C2.5":
            await self.send_chunk(1)
        while True:
            event = await self.websocket.receive(AT_ONCE if self.credits else PATIENCE)
            if isinstance(event, Nothing) and self.credits:
                await self.answer()
            elif (success := await self.take(event)) is not None:
                return success
            elif not self.reads_ahead:
                while self.credits:
                    await self.answer()

    async def take(self, event: Event) -> bool | None:
        """Whether the upload has ended with success, or failed; None while it goes on."""
        match event:
            case Message(Opcode.TEXT, data):
                return await self.take_text(data)
            case Message():
                return None if self.broken == "C1.10" else await self.end(success=False)
            case Close(code, _):
                return self.broken == "C4.5 frame" and code == 1000
            case Ended():
                return self.broken == "C4.5 end"
            case Nothing() | Violation():
                return await self.end(success=False)
        return None  # Ping and Pong

    async def take_text(self, data: bytes) -> bool | None:
        try:
            signal = json.loads(data)
        except ValueError:
            return None if self.broken == "C1.4" else await self.end(success=False)
        if not isinstance(signal, dict):
            return None if self.broken == "C1.4 object" else await self.end(success=False)
        if self.broken == "C1.9" and len(data) > LARGE:
            return await self.end(success=False)
        if self.broken == "C1.2" and any(key.startswith("x-") for key in signal):
            return await self.end(success=False)
        order = ("error", "ready", "close")
        if self.broken == "C1.5":
            order = ("close", "ready", "error")
        for key in order:
            if self.is_true(signal, key):
                take = {"error": self.take_error, "ready": self.take_ready}
                return await take.get(key, self.take_close)(signal)
        return await self.end(success=False) if self.broken == "C1.7" else None

    def is_true(self, signal: dict[str, Any], key: str) -> bool:
        value = signal.get(key)
        if self.broken == "C1.6":
            return key in signal
        if self.broken == "C5.3 empty" and value in ([], {}):
            return False
        if key == "error" or self.broken not in {"C1.3", f"C1.3 {key}"}:
            return value not in (None, False, 0, "")
        return value is True

    async def take_error(self, signal: dict[str, Any]) -> bool | None:
        if self.broken == "C5.3" and not isinstance(signal["error"], str):
            return await self.end(success=False)
        if self.is_true(signal, "fatal"):
            self.refused = True
            if self.broken == "C5.1":
                return None
            return await self.end(success=self.broken == "C5.1 report")
        if self.broken == "C1.8":
            await self.websocket.send_signal({"acknowledged": True})
        if self.broken == "C2.3":
            await self.send_metadata()
        return await self.end(success=False) if self.broken == "C5.2" else None

    async def take_ready(self, signal: dict[str, Any]) -> bool | None:
        default = 300_000 if self.broken == "C3.3" else DEFAULT_CHUNK
        chunksize = signal.get("chunksize")
        if not isinstance(chunksize, int) or chunksize <= 0:
            chunksize = default
        self.largest = max(self.largest, chunksize)
        self.credits.append(chunksize)
        if self.broken == "C3.5" and len(self.credits) > TOO_MANY:
            return await self.end(success=False)
        return None

    async def take_close(self, _signal: dict[str, Any]) -> bool:
        if self.broken == "C4.4":
            return await self.end(success=False)
        return await self.end(success=self.finished or self.broken == "C4.5")

    async def end(self, *, success: bool) -> bool:
        if self.broken != "C4.6":
            await self.websocket.finish(send_close=True, within=PATIENCE)
        return success

    async def answer(self) -> None:
        """Answer the oldest credit."""
        newest_first = self.broken == "C3.2 order"
        size = self.credits.pop() if newest_first else self.credits.popleft()
        if self.broken == "C3.2":
            size = self.largest
        self.answers += 1
        if self.broken == "C3.1 silence" and self.answers == 2:
            return
        if self.finished:
            if self.broken == "C4.3":
                await self.websocket.send_binary(self.content[:1])
        elif self.sent < len(self.content):
            await self.send_chunk(size)
            if self.broken == "C3.1":
                await self.send_chunk(size)
            if self.broken == "C4.1 early" and self.sent >= len(self.content):
                await self.send_finished()
        elif self.broken == "C4.7" and not self.content:
            await self.websocket.send_binary(b"")
        elif self.broken == "C4.1" and not self.has_sent_empty:
            self.has_sent_empty = True
            await self.websocket.send_binary(b"")
        else:
            await self.send_finished()

    async def send_chunk(self, size: int) -> None:
        start = 0 if self.broken == "C3.4" else self.sent
        size = min(size, len(self.content) - self.sent)
        await self.websocket.send_binary(self.content[start : start + size])
        self.sent += size

    async def send_metadata(self) -> None:
        size = len(self.content)
        metadata: dict[str, Any] = {"name": self.name, "size": size}
        if self.broken == "C2.1":
            metadata["size"] = str(size)
        if self.broken == "C2.1 first":
            await self.websocket.send_signal({"version": 1})
        if self.broken == "C2.2":
            metadata["size"] = size + 1
        if self.broken == "C2.4":
            metadata["directory"] = "/srv"
        if self.broken == "C2.6":
            metadata["modified"] = 1.5
        await self.send_signal(metadata, binary=self.broken == "C1.1")

    async def send_finished(self) -> None:
        self.finished = True
        part = self.content[1:] if self.broken == "C4.2" else self.content
        value = hashlib.sha1(part, usedforsecurity=False).hexdigest()
        finished = {"finished": True, "hash": {"type": "sha1", "value": value}}
        await self.send_signal(finished, binary=self.broken == "C1.1 finished")

    async def send_signal(self, signal: dict[str, Any], *, binary: bool) -> None:
        opcode = Opcode.BINARY if binary else Opcode.TEXT
        await self.websocket.send_frame(opcode, json.dumps(signal, ensure_ascii=False).encode())
