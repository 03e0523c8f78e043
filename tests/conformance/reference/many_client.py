"""A client that sends many files on one connection; correct, or wrong in one requirement.

A switch ends with a letter where a requirement can be violated in several ways: "C9.3b".
"""

import json
from collections import deque
from typing import Any, Final

import attrs
import trio
from conformance.in_process import ADDRESS, Connect, Files

from galileod.conformance.events import Message
from galileod.conformance.handshake import request_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

CHUNK: Final = 250_000
MAX_ENTRIES: Final = 256
MAX_QUESTION: Final = 16 * 1024

Signal = dict[str, Any]


@attrs.define(eq=False)
class File:
    """A file on one connection."""

    name: str
    content: bytes
    credits: deque[int] = attrs.field(factory=deque)
    sent: int = 0
    finished: bool = False
    stored: bool | None = None
    """None while it is not answered."""


@attrs.frozen
class ManyClient:
    """Sends all files, on one connection where that is agreed."""

    broken: str = ""
    can: tuple[str, ...] = ("next", "ask")
    most: int = 1_000_000
    """Open further files, where the server permits more."""

    async def __call__(self, connect: Connect, files: Files) -> bool:
        todo = deque(File(name, content) for name, content in files)
        success = True
        while todo:
            stream = await connect()
            rest = await request_upgrade(stream, ADDRESS.authority, ADDRESS.target, ())
            websocket = WebSocket(stream, "client", 1, Transcript(trio.current_time), 60, rest)
            session = Session(self.broken, self.can, self.most, websocket, todo)
            async with stream:
                success = await session.run() and success
            if session.failed:
                return self.broken == "C9.9"
        return success


@attrs.define(eq=False)
class Session:
    """One connection."""

    broken: str
    can: tuple[str, ...]
    most: int
    websocket: WebSocket
    todo: deque[File]
    files: list[File] = attrs.field(factory=list)
    agreed: frozenset[str] | None = None
    """None before the first signal."""
    limits: dict[str, int] = attrs.field(factory=lambda: {"next": 9, "whole": 1000, "room": 1000})
    """Those of the server, where it states some."""
    asked: int = 0
    """Files at the beginning of `todo` that no question is needed for."""
    pending: list[File] | None = None
    """What the unanswered question is about."""
    last: bool = False
    failed: bool = False
    """Whether the connection was lost, or ended by an error."""

    async def run(self) -> bool:
        """Return whether each file that was begun is stored."""
        await self.begin(self.todo.popleft())
        while not self.over():
            event = await self.websocket.receive(120)
            if not isinstance(event, Message):
                self.failed = True
                break
            await self.take(json.loads(event.data))
            if self.failed:
                break
            await self.pump()
        if self.broken != "C9.11":
            await self.websocket.finish(send_close=True, within=1)
        else:
            await trio.sleep(20)
        return all(file.stored for file in self.files)

    def over(self) -> bool:
        left = self.todo and self.many and not self.last
        return not left and not self.pending and all(f.stored is not None for f in self.files)

    @property
    def many(self) -> bool:
        return bool(self.agreed and "next" in self.agreed) or self.broken == "C8.1"

    async def take(self, signal: Signal) -> None:
        if self.agreed is None:
            self.agreed = frozenset(signal.get("can", [])) & frozenset(self.can)
        if not signal.get("error"):
            self.limits |= {n: signal[n] for n in ("next", "whole", "room") if n in signal}
        number = signal.get("file", 0)
        if self.broken == "C9.7" and signal.get("error"):
            number = len(self.files) - 1
        file = self.files[number]
        if signal.get("error"):
            self.failed = not (self.many and signal.get("next"))
            file.stored = None if self.broken == "C9.8" else False
        elif signal.get("ready"):
            file.credits.append(signal.get("chunksize") or CHUNK)
            if self.broken == "C9.6" and file is not self.files[-1]:
                await self.finish(file)
        elif signal.get("close"):
            file.stored = True
        elif signal.get("last"):
            self.last = self.broken != "C9.10"
        elif "held" in signal and self.pending is not None:
            self.take_held(self.pending, signal["held"])

    def take_held(self, asked: list[File], indexes: list[int]) -> None:
        held = [asked[index] for index in indexes]
        if self.broken == "C10.4":
            held = asked[:-1]
        for one in held:
            self.todo.remove(one)
        self.asked = len(asked) - len(held)
        self.pending = None

    async def pump(self) -> None:
        """Send what can be sent."""
        while await self.step():
            pass

    async def step(self) -> bool:
        """Send one thing; return whether there was one."""
        file = self.files[-1]
        if not file.finished and file.stored is None:
            return await self.continue_file(file)
        if not self.todo or not self.many or self.last or self.pending is not None:
            return False
        if self.agreed and "ask" in self.agreed and not self.asked:
            await self.ask()
            return False
        return await self.begin_next()

    async def continue_file(self, file: File) -> bool:
        further = file is not self.files[0]
        size = len(file.content)
        whole = further and size <= self.limits["whole"] and self.broken != "C9.3"
        if whole and (size or self.broken != "C9.4b"):
            await self.send_whole(file)
        elif file.credits or (self.broken == "C9.3b" and further):
            limit = file.credits.popleft() if file.credits else CHUNK
            if file.sent == size:
                await self.finish(file)
                return True
            await self.websocket.send_binary(file.content[file.sent : file.sent + limit])
            file.sent = min(size, file.sent + limit)
            if self.broken == "C10.1" and not further:
                await self.ask()
                self.pending = None
            if file.sent == size and further and self.broken != "C9.5":
                await self.finish(file)
        else:
            return False
        return True

    async def send_whole(self, file: File) -> None:
        if self.broken == "C9.3c" and len(file.content) > 1:
            await self.websocket.send_binary(file.content[:1])
            await self.websocket.send_binary(file.content[1:])
        elif file.content or self.broken == "C9.4":
            await self.websocket.send_binary(file.content)
        await self.finish(file)

    async def finish(self, file: File) -> None:
        file.finished = True
        if self.broken == "C9.1" and self.todo:
            await self.websocket.send_signal({"name": self.todo[0].name, "size": 1})
        await self.websocket.send_signal({"finished": True})

    async def begin_next(self) -> bool:
        file = self.todo[0]
        unanswered = [one for one in self.files[1:] if one.stored is None]
        if len(unanswered) >= min(self.most, self.limits["next"]) and self.broken != "C9.2":
            return False
        sizes = [len(one.content) for one in [*unanswered, file]]
        small = [size for size in sizes if size <= self.limits["whole"]]
        whole = len(file.content) <= self.limits["whole"]
        if whole and sum(small) > self.limits["room"] and self.broken != "C9.2b":
            return False
        await self.begin(self.todo.popleft())
        self.asked -= 1
        return True

    async def begin(self, file: File) -> None:
        self.files.append(file)
        offer = {"can": list(self.can)} if len(self.files) == 1 else {}
        metadata = {"name": file.name, "size": len(file.content), **offer}
        await self.websocket.send_signal(metadata)

    def entries_of(self, files: list[File]) -> list[dict[str, object]]:
        return [{"name": file.name, "size": len(file.content), "modified": 1} for file in files]

    async def ask(self) -> None:
        most = MAX_ENTRIES if self.broken != "C10.2" else 2 * MAX_ENTRIES
        longest = MAX_QUESTION if self.broken != "C10.5" else 2 * MAX_QUESTION
        self.pending = list(self.todo)[:most]
        while len(json.dumps(self.entries_of(self.pending))) > longest - 100:
            self.pending.pop()
        entries = self.entries_of(self.pending)
        if self.broken == "C10.2b":
            entries[0].pop("modified")
        await self.websocket.send_signal({"ask": entries, "n": 1})
        if self.broken == "C10.3":
            await self.websocket.send_signal({"ask": entries, "n": 2})
