"""A server with many files on one connection and questions; correct, or wrong in one requirement.

One credit at a time; everything in memory. A switch ends with a letter where a requirement can be
violated in several ways: "S9.7b".
"""

import hashlib
import json
from typing import Any, Final

import attrs
import trio
from conformance.in_process import ReferenceServer, Stream
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing
from galileod.conformance.handshake import accept_upgrade, receive_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

CHUNK: Final = 65_536
LIMITS: Final = {"next": 3, "whole": 1000, "room": 2500}
MAX_ENTRIES: Final = 256

Signal = dict[str, Any]


class Fault(Exception):  # noqa: N818  # the end of a file, or of the connection
    """A fatal error about the current file; `ends`: the connection ends too."""

    def __init__(self, code: str, *, ends: bool = False) -> None:
        super().__init__(code)
        self.code, self.ends = code, ends


@attrs.define(eq=False)
class File:
    """A file of a connection."""

    number: int
    metadata: Signal
    user: str | None
    data: bytearray = attrs.field(factory=bytearray)
    credit: int = 0
    finished: bool = False
    answered: bool = False

    @property
    def size(self) -> int:
        return int(self.metadata["size"])

    @property
    def key(self) -> str | None:
        return self.metadata.get("upload")


@attrs.frozen
class Place:
    """What is known of a stored file beside its content."""

    user: str | None
    folder: str
    modified: int | None


class ManyServer(ReferenceServer):
    """Without `offers`, it is one of the first version. With `tokens`, metadata must have one."""

    def __init__(
        self,
        broken: str = "",
        *,
        offers: frozenset[str] | None = None,
        tokens: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.broken, self.tokens = broken, tokens
        self.offers = frozenset({"resume", "next", "ask"}) if offers is None else offers
        self.places: dict[str, Place] = {}
        self.kept: dict[str, bytearray] = {}
        """By key: what an interrupted upload has sent."""
        self.done: set[str] = set()
        """The keys of stored uploads."""
        self.sessions: set[Session] = set()

    async def serve(self, stream: Stream) -> None:
        request = await receive_upgrade(stream)
        await accept_upgrade(stream, request)
        transcript = Transcript(trio.current_time)
        session = Session(self, WebSocket(stream, "server", 1, transcript, 60, request.rest))
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            session.over.set()

    async def restart(self) -> None:
        for session in list(self.sessions):
            session.draining = True
            if self.broken != "S9.9":
                await session.websocket.send_signal({"last": True})
            with trio.move_on_after(10):
                await session.over.wait()


@attrs.define(eq=False)
class Session:
    """One connection."""

    server: ManyServer
    websocket: WebSocket
    agreed: frozenset[str] | None = None
    """None before the metadata, or where they state nothing."""
    files: list[File] = attrs.field(factory=list)
    first: Signal = attrs.field(factory=dict)
    """Keys of the first signal."""
    withheld: list[Signal] = attrs.field(factory=list)
    draining: bool = False
    ended: bool = False
    over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def broken(self) -> str:
        return self.server.broken

    @property
    def many(self) -> bool:
        return self.agreed is not None and "next" in self.agreed

    async def run(self) -> None:
        while True:
            match await self.websocket.receive(60):
                case Message() as message:
                    if not self.ended:
                        await self.take(message)
                case Close() | Ended() | Nothing():
                    break
        await self.websocket.finish(send_close=False, within=1)
        if self.files and not self.files[-1].answered and self.files[-1].key:
            self.server.kept[str(self.files[-1].key)] = self.files[-1].data

    async def take(self, message: Message) -> None:
        withheld, self.withheld = self.withheld, []
        try:
            if message.opcode == Opcode.BINARY:
                await self.take_chunk(message.data)
            else:
                await self.take_signal(json.loads(message.data))
        except Fault as fault:
            if fault.ends or not self.many:
                self.ended = True
                withheld = []
            await self.fail(fault)
        if withheld and not self.files[-1].answered:
            self.withheld = withheld
            return
        for signal in withheld:
            await self.websocket.send_signal(signal)

    async def take_signal(self, signal: Signal) -> None:
        if signal.get("finished"):
            await self.take_finished(signal)
        elif "ask" in signal and ("ask" in (self.agreed or ()) or self.broken == "S10.5"):
            await self.take_question(signal)
        elif signal.get("abandon") and self.many:
            number = signal.get("file", 0)
            file = self.files[-1]
            if number == file.number and not file.finished and not file.answered:
                if self.broken == "S9.13":
                    return
                raise Fault("abandoned", ends=self.broken == "S9.13b")
        elif "name" in signal or "size" in signal:
            await self.take_metadata(signal)

    # Files

    async def take_metadata(self, signal: Signal) -> None:
        file = self.files[-1] if self.files else None
        if file and not self.many:
            raise Fault("bad_message", ends=True)
        if file and not file.finished and not file.answered and self.broken != "S9.12":
            raise Fault("bad_message", ends=True)
        token = signal.get("token")
        known = token in self.server.tokens or not self.server.tokens
        if self.broken == "S9.11b" and file and not known:
            token, known = file.user, True
        file = File(len(self.files), signal, token)
        self.files.append(file)
        if not file.number:
            self.agree(signal)
        if not isinstance(signal.get("size"), int) or signal["size"] < 0:
            raise Fault("bad_metadata")
        if not known:
            raise Fault("unauthorized")
        if self.draining:
            if self.broken == "S9.9b":
                file.answered = True
                return
            raise Fault("shutting_down")
        await self.begin(file)

    def agree(self, signal: Signal) -> None:
        can = signal.get("can")
        if not isinstance(can, list) or not self.server.offers:
            return
        self.agreed = self.server.offers & frozenset(can)
        if "upload" not in signal:
            self.agreed -= {"resume"}
        self.first = {"can": sorted(self.agreed)}
        if self.many and self.broken != "S9.1":
            self.first |= LIMITS
        if self.broken == "S9.1b":
            self.first |= {"room": 500}

    async def begin(self, file: File) -> None:
        """Answer valid metadata."""
        resume = self.agreed is not None and "resume" in self.agreed and file.key is not None
        if resume and file.key in self.server.done and self.broken != "S9.11e":
            file.answered = True
            await self.send(file, {"close": True})
            return
        whole = file.number > 0 and file.size <= LIMITS["whole"]
        if whole and self.broken != "S9.4":
            return
        more: Signal = {}
        if resume:
            part = self.server.kept.pop(str(file.key), bytearray())
            if self.broken == "S9.11f":
                part = bytearray(len(part))
            file.data = part
            more = {"offset": len(part), "keep": 60}
        if file.number == 0 or whole or self.broken != "S9.4b":
            await self.ready(file, **more)

    async def ready(self, file: File, **more: Any) -> None:  # noqa: ANN401  # JSON
        file.credit = min(CHUNK, file.size - len(file.data))
        if self.broken == "S9.10":
            file.credit = 2**40
        limit = {"chunksize": min(CHUNK, file.credit)} if file.credit else {}
        await self.send(file, {"ready": True, **limit, **more})

    async def take_chunk(self, data: bytes) -> None:
        if not self.files:
            raise Fault("bad_message")
        file = self.files[-1]
        if file.answered:
            if self.broken == "S9.7c":
                raise Fault("bad_message", ends=True)
            return
        whole = file.number > 0 and file.size <= LIMITS["whole"]
        if self.broken == "S9.3" and file.number == LIMITS["next"]:
            raise Fault("bad_chunk", ends=True)
        if len(data) > (LIMITS["whole"] if whole else file.credit):
            raise Fault("bad_chunk")
        file.data += data
        if len(file.data) > file.size:
            raise Fault("size_mismatch")
        if whole:
            return
        if len(file.data) < file.size or not file.number or self.broken == "S9.5":
            await self.ready(file)

    async def take_finished(self, signal: Signal) -> None:
        if not self.files:
            raise Fault("bad_message")
        file = self.files[-1]
        if file.answered or file.finished:
            return
        if len(file.data) < file.size:
            raise Fault("size_mismatch")
        file.finished = True
        if not self.is_right(file, signal.get("hash")) and self.broken != "S9.11":
            raise Fault("hash_mismatch")
        self.store(file)
        await self.send(file, {"close": True})

    def is_right(self, file: File, claim: Signal | None) -> bool:
        if claim is None:
            return True
        return bool(hashlib.new(claim["type"], file.data).hexdigest() == claim["value"].lower())

    def store(self, file: File) -> None:
        name = file.metadata["name"]
        file.answered = True
        if self.broken == "S9.11c" and file.number == 2:
            file.data.reverse()
        if file.key:
            self.server.done.add(file.key)
        if self.broken == "S9.11e" and name in self.server.files:
            name = f"{name} (1)"
        self.server.files[name] = bytes(file.data)
        folder, modified = file.metadata.get("folder", ""), file.metadata.get("modified")
        self.server.places[name] = Place(file.user, folder, modified)

    async def fail(self, fault: Fault) -> None:
        signal = {"error": fault.code, "fatal": True, "code": fault.code}
        if self.many and not self.ended and self.broken != "S9.7":
            signal["next"] = LIMITS["next"]
        if not self.files:
            await self.websocket.send_signal(signal)
            return
        file = self.files[-1]
        file.answered = True
        await self.send(file, signal)
        if self.broken == "S9.7b" and fault.code != "abandoned":
            self.ended = True

    async def send(self, file: File, signal: Signal) -> None:
        """Send a signal about a file."""
        if file.number and self.broken != "S9.2":
            signal["file"] = file.number
        if self.broken == "S9.6" and file.number == 1:
            signal["room"] = LIMITS["room"] - 1
        first, self.first = self.first, {}
        if self.broken == "S9.8" and signal.get("close") and file.number:
            self.withheld.append(signal)
            return
        await self.websocket.send_signal(first | signal)

    # Questions

    async def take_question(self, signal: Signal) -> None:
        file = self.files[-1]
        within = not file.finished and not file.answered and (file.number or file.data)
        if within and self.broken != "S10.6":
            raise Fault("bad_message", ends=True)
        entries, n = signal["ask"], signal.get("n")
        valid = isinstance(entries, list) and 1 <= len(entries) <= MAX_ENTRIES
        if self.broken == "S10.3":
            valid = isinstance(entries, list)
        if not valid or not isinstance(n, int) or not all(map(is_entry, entries)):
            raise Fault("bad_message", ends=True)
        held = [i for i, entry in enumerate(entries) if self.holds(entry)]
        if self.broken == "S10.1":
            n += 1
        if self.broken == "S10.1b":
            held = []
        await self.websocket.send_signal({"held": held, "n": n})

    def holds(self, entry: Signal) -> bool:
        content = self.server.files.get(entry["name"])
        place = self.server.places.get(entry["name"])
        if content is None or place is None:
            return self.broken == "S10.2"
        other_user = place.user != self.files[0].user and self.broken != "S10.4"
        elsewhere = place.folder != entry.get("folder", "") and self.broken != "S10.2b"
        if other_user or elsewhere:
            return False
        if len(content) != entry["size"]:
            return self.broken == "S10.2c"
        if self.broken == "S10.2d":
            return True
        if "hash" in entry:
            value: str = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            if value != str(entry["hash"]["value"]):
                return self.broken == "S10.2f" and place.modified == entry.get("modified")
        same_time = place.modified == entry.get("modified", place.modified)
        return same_time or (self.broken == "S10.2e" and "hash" in entry)


def is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and {"name", "size"} <= set(entry)
        and bool({"modified", "hash"} & set(entry))
    )
