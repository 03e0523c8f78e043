"""A server for the cases of sections 6, 7 and 11: correct, or wrong in one requirement."""

import hashlib
import json
from collections import deque
from typing import Any, Final

import trio
from conformance.in_process import ReferenceServer, Stream
from websockets.frames import Opcode

from galileod.conformance.events import Close, Message, Ping, Violation
from galileod.conformance.frames import Decoder, Frame, Received, encode
from galileod.conformance.handshake import Request, accept_upgrade, receive_upgrade

MAX_FILE: Final = 4 * 1024 * 1024
MAX_CHUNK: Final = 262_144
MAX_EMPTY: Final = 64

Signal = dict[str, Any]


class WireServer(ReferenceServer):
    """Keeps files in memory, and grants one credit at a time."""

    def __init__(self, broken: str | None = None) -> None:
        super().__init__()
        self.broken = broken
        """The requirement that it violates."""

    async def serve(self, stream: Stream) -> None:
        request = await receive_upgrade(stream)
        if self.broken == "S6.1":
            request = Request("GET", "1.1", "/", (("sec-websocket-key", "another"),), request.rest)
        try:
            await accept_upgrade(stream, request)
            await _Session(self, stream, request.rest).run()
        except trio.BrokenResourceError:
            pass  # the client is gone

    def free_name(self, name: str) -> str:
        number, free = 0, name
        while free in self.files:
            number += 1
            free = f"{name} ({number})"
        return free


class _Session:
    """One connection after its handshake."""

    def __init__(self, server: WireServer, stream: Stream, rest: bytes) -> None:
        self.server, self.broken = server, server.broken
        self.stream = stream
        self.decoder = Decoder(masked=True)
        self.pending: deque[tuple[Frame | None, Received | None]] = deque()
        self.pending.extend(self.decoder.feed(rest))
        self.name: str | None = None
        self.stored_name = ""
        self.size = 0
        self.content = b""
        self.credit = 0
        self.most_credit = 65_536 if self.broken == "S11.2" else MAX_CHUNK
        self.most_empty = {"S11.3": 4, "S11.4": 1_000_000}.get(self.broken or "", MAX_EMPTY)
        self.empty = 0
        self.over = False
        """Whether close or a fatal error was sent."""

    async def run(self) -> None:
        while (pair := await self.receive()) is not None:
            frame, event = pair
            if isinstance(event, Violation):
                text = "UTF-8" in event.sentence
                if self.broken == ("S6.7" if text else "S6.6"):
                    continue
                if self.broken != "S6.9":
                    await self.error("bad_message")
                await self.send_frame(Opcode.CLOSE, (1007 if text else 1002).to_bytes(2))
                return
            if self.broken == "S6.2" and frame is not None and not frame.fin:
                await self.error("bad_message")
            elif isinstance(event, Ping) and self.broken != "S6.4":
                await self.send_frame(Opcode.PONG, event.data)
            elif isinstance(event, Close):
                if self.broken != "S6.8":
                    await self.send_frame(Opcode.CLOSE, (event.code or 1000).to_bytes(2))
                return
            elif isinstance(event, Message) and not self.over:
                await self.take(event)

    async def receive(self) -> tuple[Frame | None, Received | None] | None:
        while not self.pending:
            data = bytes(await self.stream.receive_some(1 << 20))
            if not data:
                return None
            if self.broken == "S6.3":
                self.decoder = Decoder(masked=True)  # takes what comes for complete frames
            self.pending.extend(self.decoder.feed(data))
        return self.pending.popleft()

    async def take(self, message: Message) -> None:
        if message.opcode == Opcode.BINARY:
            await self.take_chunk(message.data)
            return
        try:
            signal = json.loads(message.data)
        except ValueError:
            signal = None
        if not isinstance(signal, dict):
            await self.error("bad_message")
        elif signal.get("finished") == 1:  # true is 1
            await self.take_finished(signal)
        elif self.name is None:
            await self.take_metadata(signal)
        else:
            await self.error("bad_message")

    async def take_metadata(self, signal: Signal) -> None:
        name, size = signal.get("name"), signal.get("size")
        if type(size) is not int or not 0 <= size < 2**63:
            if self.broken != "S7.7":
                await self.error("bad_metadata", key="size")
                return
            size = 0
        if not isinstance(name, str):
            await self.error("bad_metadata", key="name")
            return
        stored_name = self.safe(name)
        if not stored_name:
            await self.error("bad_name")
            return
        if self.broken == "S7.6":
            size %= 2**32
        self.name, self.stored_name, self.size = name, stored_name, size
        if size > MAX_FILE and self.broken != "S7.8":
            await self.error("too_large", size=size)
        else:
            await self.ready()

    def safe(self, name: str) -> str:
        """A plain name; empty where nothing is left."""
        if self.broken == "S7.1":
            return name
        if self.broken == "S7.2" and not name.isascii():
            return ""
        last = name.replace("\\", "/").split("/")[-1]
        plain = "".join("_" if c < " " or c == "\x7f" else c for c in last).strip(". ")
        return plain or ("unnamed" if self.broken == "S7.4" else "")

    async def take_chunk(self, data: bytes) -> None:
        self.empty += not data
        if self.name is None:
            await self.error("bad_message")
        elif self.size > MAX_FILE:
            await self.error("too_large", size=self.size)  # too late: S7.8
        elif len(data) > self.credit or self.empty > self.most_empty:
            await self.error("bad_chunk")
        else:
            self.content += data
            if data or self.broken != "S11.1":
                await self.ready()

    async def ready(self) -> None:
        self.credit = min(self.most_credit, self.size - len(self.content))
        limit = {"chunksize": self.credit} if self.credit else {}
        await self.send({"ready": True, **limit})

    async def take_finished(self, signal: Signal) -> None:
        if self.name is None:
            await self.error("bad_message")
            return
        if len(self.content) != self.size:
            await self.error("size_mismatch", expected=self.size, received=len(self.content))
            return
        value = hashlib.sha1(self.content, usedforsecurity=False).hexdigest()
        if signal.get("hash") and signal["hash"]["value"] != value:
            await self.error("hash_mismatch")
            return
        free = self.server.free_name(self.stored_name)
        place = self.stored_name if self.broken == "S7.5" else free
        self.server.files[place] = self.content
        if self.broken == "S7.3":
            free = f"incoming/{free}"
        self.over = True
        await self.send({"close": True, **({} if free == self.name else {"name": free})})

    async def error(self, code: str, **more: object) -> None:
        if not self.over:
            self.over = True
            await self.send({"error": f"{code}.", "fatal": True, "code": code, **more})

    async def send(self, signal: Signal) -> None:
        await self.send_frame(Opcode.TEXT, json.dumps(signal).encode())

    async def send_frame(self, opcode: int, payload: bytes) -> None:
        mask = b"mask" if self.broken == "S6.5" else None
        await self.stream.send_all(encode(opcode, payload, fin=True, rsv=0, mask=mask))
