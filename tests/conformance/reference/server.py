"""A server for the cases of sections 1 to 5, in memory, with a switch for each requirement.

It is written from docs/protocol.md alone. With a switch, it violates that requirement.
"""

import hashlib
import json
from collections import deque
from typing import Any, Final, NoReturn

import attrs
import trio
from conformance.in_process import ReferenceServer, Stream
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing
from galileod.conformance.handshake import accept_upgrade, receive_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

CHUNK: Final = 60_000
"""Bytes of a credit."""
USUAL: Final = 250_000
"""Bytes of a chunk for a credit that states none."""
MAX_SIGNAL: Final = 16 * 1024
IDLE: Final = 60.0
"""Seconds without a message."""
CLOSING: Final = 5.0
"""Seconds after an error until the server closes the connection."""
MAX_SIZE: Final = 2**63 - 1
MAX_NAME: Final = 100
"""Characters of a stored name."""

KNOWN: Final = frozenset({"name", "size", "token", "finished", "hash"})

SWITCHES: Final = (
    *("S1.1", "S1.2", "S1.3", "S1.4", "S1.5", "S1.6", "S1.7", "S1.8", "S1.9", "S1.10"),
    *("S2.1", "S2.2", "S2.3", "S2.4", "S2.5", "S2.6"),
    *("S3.1", "S3.1 short", "S3.2", "S3.3", "S3.4", "S3.5", "S3.5 count", "S3.6", "S3.7"),
    *("S4.1", "S4.2", "S4.3", "S4.4", "S4.4 beyond", "S4.5", "S4.5 empty", "S4.6", "S4.7", "S4.8"),
    *(
        "S4.9",
        "S4.9 cancelled",
        "S4.10 finished",
        "S4.10 chunk",
        "S4.11",
        "S4.12",
        "S4.13",
        "S4.14",
        "S4.15",
        "S4.16",
    ),
    *("S5.1", "S5.1 close", "S5.2", "S5.3", "S5.4", "S5.5", "S5.6"),
)
"""The requirement that is violated, and which way, where there are several."""


class Fault(Exception):  # noqa: N818  # the term of the protocol
    """The upload has failed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class SignalTooLong(Fault):
    """A signal has more than MAX_SIGNAL bytes."""

    def __init__(self) -> None:
        super().__init__("bad_message", "The signal is too long.")


@attrs.frozen
class Style:
    """What the text leaves to a server."""

    chunk: int | None = CHUNK
    """Bytes of a credit; None: they are not stated, and 250,000 are accepted."""
    credits: int = 3
    """How many may be unanswered."""
    ignores_metadata: bool = False
    """Whether it ignores second metadata, and does not refuse them."""
    renames: bool = False
    """Whether it stores each file under a name of its own."""


class Server(ReferenceServer):
    """The server; `broken` is one of SWITCHES, or empty."""

    def __init__(self, broken: str = "", style: Style | None = None) -> None:
        super().__init__()
        self.broken = broken
        self.style = style or Style()

    async def serve(self, stream: Stream) -> None:
        request = await receive_upgrade(stream)
        await accept_upgrade(stream, request)
        websocket = WebSocket(
            stream=stream,
            role="server",
            number=1,
            transcript=Transcript(trio.current_time),
            patience=IDLE,
            rest=request.rest,
        )
        await Connection(self, websocket).run()


@attrs.define
class Connection:
    """One connection, which is one upload."""

    server: Server
    websocket: WebSocket
    broken: str = attrs.field(init=False)
    name: str | None = None
    size: int = 0
    content: bytearray = attrs.field(factory=bytearray)
    credits: deque[int] = attrs.field(factory=deque)
    """The unanswered ones, in bytes; 0 is the one that `finished` answers."""
    granted: int = 0
    """Bytes of all credits, less what chunks have left unused."""
    asked: bool = False
    """Whether the `ready` for `finished` was sent."""
    stored: bool = False

    def __attrs_post_init__(self) -> None:
        self.broken = self.server.broken

    async def run(self) -> None:
        if self.broken == "S2.1":
            await self.send({"ready": True, "chunksize": CHUNK})
        try:
            while not self.stored:
                event = await self.websocket.receive(IDLE)
                if isinstance(event, Close | Ended | Nothing):
                    if self.broken == "S4.9 cancelled" and self.name is not None:
                        self.server.files[self.name] = bytes(self.content)
                    return
                if isinstance(event, Message):
                    await self.take(event)
        except Fault as fault:
            await self.fail(fault)
        await self.discard()

    async def take(self, message: Message) -> None:
        if message.opcode == Opcode.BINARY:
            await self.take_chunk(message.data)
            return
        try:
            signal = self.parse(message.data)
        except Fault:
            if self.broken == "S1.4":
                return
            raise
        if self.is_true(signal.get("finished")):
            await self.take_finished(signal.get("hash"))
        elif "name" in signal or "size" in signal:
            await self.take_metadata(signal)
        elif self.broken == "S1.7":
            raise Fault("bad_message", "The signal is not known.")

    def parse(self, data: bytes) -> dict[str, Any]:
        if len(data) > (4096 if self.broken == "S1.9" else MAX_SIGNAL):
            raise SignalTooLong
        pairs = None if self.broken == "S1.8" else _without_duplicates
        constant = None if self.broken == "S1.8" else _refuse
        try:
            signal = json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
        except ValueError:
            raise Fault("bad_message", "The signal is not JSON.") from None
        if not isinstance(signal, dict):
            raise Fault("bad_message", "The signal is not an object.")
        if self.broken == "S1.2" and not KNOWN.issuperset(signal):
            raise Fault("bad_message", "A key is not known.")
        return signal

    def is_true(self, value: object) -> bool:
        return value is True or (value == 1 and self.broken != "S1.3")

    # Metadata

    async def take_metadata(self, signal: dict[str, Any]) -> None:
        if self.name is not None:
            if self.broken == "S2.3":
                self.name = signal["name"]
                return
            if self.server.style.ignores_metadata:
                return
            raise Fault("bad_message", "The metadata came already.")
        name, size = signal.get("name"), signal.get("size")
        if self.broken == "S2.2":
            name, size = str(name), size if isinstance(size, int) else 0
        if not isinstance(name, str):
            raise Fault("bad_metadata", "The name is not a string.")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
            raise Fault("bad_metadata", "The size is not an integer from 0 to 2^63-1.")
        if self.broken == "S2.6" and "directory" in signal:
            name = f"{signal['directory']}/{name}"
        self.name, self.size = name, size
        if self.broken == "S2.5":
            return
        await self.grant()

    # Credits

    async def grant(self) -> None:
        """Send the credits that there is room for, or the `ready` for `finished`."""
        if len(self.content) == self.size:
            if self.broken == "S4.16" and await self.comes_already():
                raise Fault("bad_message", "`finished` came before its `ready`.")
            if self.broken != "S4.1" and not self.asked:
                self.asked = True
                self.credits.append(0)
                await self.send({"ready": True})
            return
        style = self.server.style
        while len(self.credits) < style.credits and self.granted < self.size:
            if self.broken == "S3.4" and self.granted >= style.credits * CHUNK:
                return
            size = min(style.chunk or USUAL, self.size - self.granted)
            if self.broken == "S3.1":
                size = CHUNK
            self.credits.append(size)
            self.granted += size
            value = float(size) if self.broken == "S3.6" else size
            await self.send(
                {"ready": True, **({} if style.chunk is None else {"chunksize": value})}
            )

    async def comes_already(self) -> bool:
        return isinstance(await self.websocket.receive(0), Message)

    async def take_chunk(self, data: bytes) -> None:
        if self.name is None:
            if self.broken == "S2.4":
                return
            raise Fault("bad_message", "Data came before the metadata.")
        if len(data) > self.size - len(self.content):
            if self.broken == "S4.4 beyond":
                return
            raise Fault("size_mismatch", f"More than {self.size} bytes came.")
        self.use_credit(len(data))
        if self.broken == "S3.7" and len(self.content) == CHUNK:
            self.content[:0] = data
        else:
            self.content += data
        await self.grant()
        if self.broken == "S4.2" and len(self.content) == self.size:
            await self.send({"close": True})

    def use_credit(self, size: int) -> None:
        """Take the oldest credit for a chunk, and note what the chunk leaves unused."""
        if not self.credits:
            if self.broken == "S3.5 count":
                return
            raise Fault("bad_chunk", "A chunk came without a credit.")
        credit = self.credits.popleft()
        refused = size >= credit > 1 if self.broken == "S3.2" else size > credit
        if refused and self.broken != "S3.5":
            raise Fault("bad_chunk", f"A chunk of {size} bytes came for {credit}.")
        if credit == 0:
            self.asked = False  # an empty chunk for the `ready` that `finished` answers
        if self.broken == "S3.1 short" and size < credit:
            self.granted -= credit
        elif self.broken not in {"S3.3", "S3.5 count"}:
            self.granted -= max(0, credit - size)

    # The end

    async def take_finished(self, claimed: dict[str, Any] | None) -> None:
        if self.name is None:
            if self.broken == "S2.4":
                return
            raise Fault("bad_message", "`finished` came before the metadata.")
        if len(self.content) < self.size and self.broken != "S4.4":
            raise Fault("size_mismatch", f"{len(self.content)} of {self.size} bytes came.")
        self.verify(claimed)
        await self.store()

    def verify(self, claimed: dict[str, Any] | None) -> None:
        if claimed is None:
            if self.broken == "S4.8":
                raise Fault("bad_message", "There is no hash.")
            return
        kind, value = claimed["type"], claimed["value"]
        if self.broken != "S4.6":
            kind, value = kind.lower(), value.lower()
        kinds = {"sha1"} if self.broken == "S4.15" else {"sha1", "sha256", "sha512", "blake2b"}
        if kind not in kinds:
            if self.broken == "S4.7":
                return
            raise Fault("unsupported_hash", f"The hash type {kind!r} is not known.")
        if self.broken == "S4.5" or (self.broken == "S4.5 empty" and self.size == 0):
            return
        if value != hashlib.new(kind, self.content).hexdigest():
            raise Fault("hash_mismatch", "The hash is that of other data.")

    async def store(self) -> None:
        assert self.name is not None
        name = self.free_name(self.name)
        renamed = {} if name == self.name or self.broken == "S4.11" else {"name": name}
        if self.broken == "S4.13" and isinstance(await self.websocket.receive(0.1), Ended):
            return
        if self.broken != "S4.3" and not (self.broken == "S4.14" and self.size == 0):
            self.server.files[name] = bytes(self.content)
        await self.send({"close": True, **renamed})
        if self.broken == "S4.3":
            await trio.sleep(1)
            self.server.files[name] = bytes(self.content)
        if self.broken == "S4.12":
            await self.send({"ready": True})
        self.stored = True

    def free_name(self, name: str) -> str:
        if self.broken == "S2.6":
            return name
        if self.server.style.renames:
            return f"{len(self.server.files):06}.data"
        name = name.rpartition("/")[2].strip(" .")[-MAX_NAME:]
        count = 0
        unique = name
        while unique in self.server.files:
            count += 1
            unique = f"{count} {name}"
        return unique

    async def fail(self, fault: Fault) -> None:
        if self.broken == "S4.9" and self.name is not None:
            self.server.files[self.name] = bytes(self.content)
        if self.broken == "S5.1" or (self.broken == "S1.10" and isinstance(fault, SignalTooLong)):
            await self.websocket.send_close(1008)
            return
        error: dict[str, Any] = {"error": str(fault), "fatal": True, "code": fault.code}
        if self.broken == "S5.3":
            del error["code"]
        if self.broken == "S5.4":
            error["fatal"] = "yes"
        await self.send(error)
        if self.broken == "S5.1 close":
            await self.send({"close": True})
        if self.broken == "S5.2":
            await self.send(error)

    async def discard(self) -> None:
        """Read on until the client closes the connection, or for some seconds."""
        if self.broken == "S5.6":
            return
        seconds = 1000 * CLOSING if self.broken == "S5.5" else CLOSING
        with trio.move_on_after(seconds):
            while not isinstance(event := await self.websocket.receive(seconds), Close | Ended):
                if isinstance(event, Message) and self.stored and self.answers_again(event):
                    await self.send({"close": True})
        await self.websocket.finish(send_close=True, within=CLOSING)

    def answers_again(self, message: Message) -> bool:
        if message.opcode == Opcode.BINARY:
            return self.broken == "S4.10 chunk"
        return self.broken == "S4.10 finished"

    async def send(self, signal: dict[str, Any]) -> None:
        if self.broken == "S1.5" and "close" in signal:
            await self.websocket.send_binary(b"")
        if self.broken == "S1.6" and "close" in signal:
            signal = {**signal, "ready": True}
        if self.broken == "S1.1" and "close" in signal:
            await self.websocket.send_text(json.dumps([signal]))
        else:
            await self.websocket.send_signal(signal)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a duplicate key")
    return dict(pairs)


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)
