"""A server that resumes uploads, and can be told to violate one requirement of section 8.

One credit at a time; everything in memory. A switch may end with a letter where a requirement can
be violated in several ways: "S8.4b".
"""

import hashlib
import json
from typing import Any, Final

import attrs
import trio
from conformance.in_process import ReferenceServer, Stream
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing, Violation
from galileod.conformance.handshake import accept_upgrade, receive_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

CHUNK: Final = 640 * 1024
VERIFYING: Final = 0.1
"""Seconds between `finished` and `close`."""
DISCARDED: Final = {"hash_mismatch", "size_mismatch", "bad_chunk", "bad_message", "abandoned"}

Signal = dict[str, Any]


class Fault(Exception):  # noqa: N818  # the end of an upload
    """A fatal error, with its code."""

    def __init__(self, code: str, sentence: str = "") -> None:
        super().__init__(sentence or code)
        self.code = code


class Lost(Exception):  # noqa: N818  # the end of a connection
    """The connection has ended."""


@attrs.define(eq=False)
class Upload:
    """What the server knows of a key."""

    fixed: tuple[object, ...]
    data: bytearray = attrs.field(factory=bytearray)
    stored_as: str | None = None
    holder: "Session | None" = None


@attrs.define(eq=False)
class Session:
    """One connection."""

    websocket: WebSocket
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    code: str = ""
    """Why `scope` was cancelled."""
    finished: bool = False
    first: Signal = attrs.field(factory=dict)
    """Keys of the first signal."""
    released: trio.Event = attrs.field(factory=trio.Event)

    async def send(self, signal: Signal) -> None:
        await self.websocket.send_signal(signal | self.first)
        self.first = {}

    async def receive(self) -> Message:
        while True:
            match await self.websocket.receive(60):
                case Message() as message:
                    return message
                case Violation():
                    raise Fault("bad_message")
                case Close() | Ended() | Nothing():
                    raise Lost

    async def signal(self) -> Signal:
        message = await self.receive()
        try:
            value = json.loads(message.data) if message.opcode == Opcode.TEXT else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Fault("bad_message")
        return value

    def stop(self, code: str) -> None:
        self.code = code
        self.scope.cancel()


class ResumingServer(ReferenceServer):
    """Correct unless it is `broken`; without `offers`, it is one of the first version."""

    def __init__(self, broken: str = "", *, offers: bool = True) -> None:
        super().__init__()
        self.broken = broken
        self.offers = offers
        self.uploads: dict[tuple[object, str], Upload] = {}
        self.sessions: set[Session] = set()

    async def restart(self) -> None:
        for session in list(self.sessions):
            session.stop("shutting_down")
            await session.released.wait()
        if self.broken == "S8.11":
            self.uploads.clear()

    async def kill(self) -> None:
        for session in list(self.sessions):
            await session.websocket.aclose()
            session.stop("")
            await session.released.wait()
        if self.broken == "S8.12":
            self.uploads.clear()

    async def serve(self, stream: Stream) -> None:
        request = await receive_upgrade(stream)
        await accept_upgrade(stream, request)
        transcript = Transcript(trio.current_time)
        websocket = WebSocket(stream, "server", 1, transcript, 60, request.rest)
        session = Session(websocket)
        self.sessions.add(session)
        try:
            await self._session(session)
            while True:
                await session.receive()  # up to the client's Close frame
        except Lost:
            await websocket.finish(send_close=False, within=1)
        finally:
            self.sessions.discard(session)
            session.released.set()

    async def _session(self, session: Session) -> None:
        """One upload, up to `close` or a fatal error."""
        upload = None
        try:
            with session.scope:
                metadata = await session.signal()
                upload = await self._find(session, metadata)
                await self._receive(session, metadata, upload)
            if session.scope.cancelled_caught:
                await self._fail(session, upload, Fault(session.code))
        except Fault as fault:
            await self._fail(session, upload, fault)
        finally:
            if upload and upload.holder is session:
                upload.holder = None
            session.released.set()

    async def _fail(self, session: Session, upload: Upload | None, fault: Fault) -> None:
        resumable = upload in self.uploads.values()
        kept: Signal = {}
        if upload and fault.code not in DISCARDED and resumable and upload.data:
            kept = {"kept": "long" if self.broken == "S8.17b" else 60}
            if self.broken == "S8.17":
                self._discard(upload)
        elif upload and fault.code in DISCARDED and upload.holder is session:
            if self.broken == "S8.21b" and fault.code == "abandoned":
                pass
            elif self.broken != "S8.18" or fault.code == "abandoned":
                self._discard(upload)
        if self.broken == "S8.19" and fault.code == "taken_over":
            return
        if self.broken == "S8.2b":
            kept = {"kept": 60}
        error = {"error": str(fault), "fatal": True, "code": fault.code, **kept}
        await session.send(error)

    async def _find(self, session: Session, metadata: Signal) -> Upload:
        """The upload of the metadata, new or known, which no other connection has now."""
        name, size = metadata.get("name"), metadata.get("size")
        if type(name) is not str or type(size) is not int or size < 0:
            raise Fault("bad_metadata")
        folder, modified = metadata.get("folder"), metadata.get("modified")
        fixed = (
            name,
            size,
            folder if type(folder) is str else None,
            modified if type(modified) is int else None,
        )
        if not self._agree(session, metadata):
            return Upload(fixed)
        place = self._place(metadata)
        known = self.uploads.get(place)
        if known:
            await self._claim(known, fixed, metadata["upload"])
            known = self.uploads.get(place)
        if known and self.broken == "S8.6" and known.fixed != fixed:
            known = None
        if known and known.stored_as and self.broken == "S8.16":
            known = None
        if metadata.get("abandon") in (True, 1):
            self._abandon(known)
        if size > 2**40:
            raise Fault("too_large")
        upload = known or Upload(fixed)
        self.uploads[place] = upload
        upload.holder = session
        return upload

    def _place(self, metadata: Signal) -> tuple[object, str]:
        key = metadata["upload"]
        if type(key) is not str or not (_is_key(key) or self.broken == "S8.4"):
            raise Fault("bad_metadata")
        owner = None if self.broken == "S8.7" else metadata.get("token")
        return owner, key if self.broken == "S8.5" else key.lower()

    async def _claim(self, known: Upload, fixed: tuple[object, ...], key: str) -> None:
        """Check that the upload is of this file; wait until no other connection has it."""
        older = known.holder
        if known.fixed != fixed and self.broken != "S8.6":
            if self.broken == "S8.6b" and older:
                older.stop("taken_over")
            raise Fault("bad_metadata", f"not the file of {key}" if self.broken == "S8.5b" else "")
        if older is None or self.broken == "S8.20":
            return
        if not older.finished:
            if self.broken == "S8.19b":
                raise Fault("busy")
            older.stop("taken_over")
        await older.released.wait()

    def _abandon(self, known: Upload | None) -> None:
        """The metadata have `abandon`; returns only where the file is stored."""
        if known and known.stored_as and self.broken != "S8.22c":
            return
        if not known and self.broken == "S8.22":
            return
        if known and self.broken != "S8.22b":
            self._discard(known)
        raise Fault("abandoned")

    def _agree(self, session: Session, metadata: Signal) -> bool:
        """Whether the upload can be resumed; prepares the first signal."""
        can = metadata.get("can")
        if self.broken == "S8.2" and can == "resume":
            can = ["resume"]
        if not self.offers or not isinstance(can, list):
            if self.broken == "S8.23" and metadata.get("abandon"):
                raise Fault("abandoned")
            return False
        has_key = metadata.get("upload") is not None
        agreed = "resume" in can and (has_key or self.broken == "S8.4b")
        if self.broken != "S8.1" or agreed:
            session.first = {"can": ["resume"] if agreed else []}
        if self.broken == "S8.1b":
            session.first = {"can": "resume" if agreed else ""}
        if self.broken == "S8.3":
            session.first = {"can": ["resume"]}
        return agreed and has_key

    def _discard(self, upload: Upload) -> None:
        self.uploads = {key: value for key, value in self.uploads.items() if value is not upload}

    async def _receive(self, session: Session, metadata: Signal, upload: Upload) -> None:
        """Take the bytes and `finished`, and store the file."""
        if upload.stored_as and self.broken != "S8.20":
            await session.send(self._close(metadata, upload))
            return
        size, offset = metadata["size"], len(upload.data)
        resumable = upload in self.uploads.values()
        if resumable:
            self._prepare(session, upload, size)
        while True:
            left = size - len(upload.data)
            limit = {"chunksize": min(left, CHUNK)} if left else {}
            if self.broken == "S8.13b" and resumable and not left:
                limit = {"chunksize": CHUNK}
            await session.send({"ready": True, **limit})
            if self.broken == "S8.13" and not left:
                self._store(metadata["name"], upload)
            message = await session.receive()
            while message.opcode == Opcode.TEXT:
                if await self._signal(session, message, metadata, upload, offset):
                    return
                message = await session.receive()
            if len(message.data) > min(left, CHUNK):
                raise Fault("bad_chunk" if left else "size_mismatch")
            upload.data += message.data

    def _prepare(self, session: Session, upload: Upload, size: int) -> None:
        """The keys of the first `ready`."""
        offset, more = len(upload.data), session.first
        more |= {"offset": offset, "keep": 60}
        if offset:
            below = upload.data[1:] if self.broken == "S8.14" else upload.data
            more["check"] = {"type": "SHA1", "value": hashlib.sha1(below).hexdigest()}  # noqa: S324
        if self.broken == "S8.8":
            del more["keep"]
        if self.broken == "S8.8b":
            more["offset"] = float(offset)
        if self.broken == "S8.8c" and not offset:
            more["offset"] = size
        if self.broken == "S8.9":
            more["offset"] = min(offset + 3 * CHUNK, size)
        if self.broken == "S8.10" and offset:
            upload.data[:CHUNK] = bytes(min(offset, CHUNK))

    async def _signal(
        self, session: Session, message: Message, metadata: Signal, upload: Upload, offset: int
    ) -> bool:
        """Handle a signal; whether it was `finished`, and the file is stored."""
        try:
            signal = json.loads(message.data)
        except ValueError:
            raise Fault("bad_message") from None
        resumable = upload in self.uploads.values()
        heard = resumable and self.broken != "S8.21"
        if signal.get("abandon") in (True, 1) and (heard or self.broken == "S8.23b"):
            raise Fault("abandoned")
        if not signal.get("finished"):
            return False
        if len(upload.data) != metadata["size"]:
            raise Fault("size_mismatch")
        session.finished = True
        self._verify(signal.get("hash"), upload, offset)
        await trio.sleep(VERIFYING)
        if self.broken == "S8.21c":
            with trio.move_on_after(VERIFYING):
                if "abandon" in await session.signal():
                    raise Fault("abandoned")
        self._store(metadata["name"], upload)
        resumable = upload in self.uploads.values()
        await session.send(self._close(metadata, upload, stated=resumable))
        return True

    def _close(self, metadata: Signal, upload: Upload, *, stated: bool = True) -> Signal:
        path = upload.stored_as
        if self.broken == "S8.25":
            path = f"/{path}"
        if self.broken == "S8.25b":
            path = f"{path}/x"
        more = {"path": path} if stated and self.broken != "S8.24" else {}
        return {"close": True, **_renamed(metadata, upload), **more}

    def _verify(self, claim: Any, upload: Upload, offset: int) -> None:  # noqa: ANN401  # JSON
        if claim is None or (self.broken == "S8.15b" and offset):
            return
        if claim["type"] != "sha1":
            raise Fault("unsupported_hash")
        data = upload.data[offset:] if self.broken == "S8.15" else upload.data
        if hashlib.sha1(data).hexdigest() != claim["value"].lower():  # noqa: S324
            raise Fault("hash_mismatch")

    def _store(self, name: str, upload: Upload) -> None:
        """Store the file; a name that is taken gets a number."""
        stem, dot, suffix = name.rpartition(".")
        number = 0
        stored_as = name
        while stored_as in self.files:
            number += 1
            stored_as = f"{stem} ({number}){dot}{suffix}"
        self.files[stored_as] = bytes(upload.data)
        upload.stored_as = stored_as


def _renamed(metadata: Signal, upload: Upload) -> Signal:
    return {} if upload.stored_as == metadata["name"] else {"name": upload.stored_as}


def _is_key(key: str) -> bool:
    return len(key) == 32 and set(key.lower()) <= set("0123456789abcdef")
