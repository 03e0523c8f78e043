"""A client that resumes uploads, and can be told to violate one requirement of section 8.

It answers each `ready` when it reads it. A switch may end with a letter where a requirement can be
violated in several ways: "C8.2b".
"""

import hashlib
import json
import secrets
from typing import Any, Final

import attrs
import trio
from conformance.in_process import Connect
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing
from galileod.conformance.handshake import request_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import WebSocket

CHUNK: Final = 250_000
ATTEMPTS: Final = 10
WAIT: Final = 1.0
"""Seconds between two attempts."""
OLD_SERVERS: Final = 3
"""Attempts that meet a server which cannot resume, before the whole file is sent."""
PASSING: Final = {"idle", "too_slow", "busy", "shutting_down", "storage_failed"}
"""The codes after which it tries again by itself."""

Signal = dict[str, Any]


class Failed(Exception):  # noqa: N818  # the end of an upload
    """The upload has failed for good."""


class Again(Exception):  # noqa: N818  # the end of an attempt
    """Another attempt may succeed."""


@attrs.define
class Upload:
    """A file that was begun."""

    name: str
    content: bytes
    key: str
    begun: bool = False
    """Whether the server may have a part of it."""
    sent: int = 0
    old_servers: int = 0


@attrs.define(eq=False)
class ResumingClient:
    """Correct unless it is `broken`; without `offers`, it is one of the first version.

    It remembers what it has begun. It tries again `by_itself`, or only when it is called again.
    """

    broken: str = ""
    offers: bool = True
    by_itself: bool = True
    _uploads: dict[tuple[str, bytes], Upload] = attrs.field(factory=dict, init=False)

    async def __call__(self, connect: Connect, content: bytes, name: str) -> bool:
        """Send the file; return whether it is stored."""
        place = (name, content)
        for _ in range(ATTEMPTS if self.by_itself else 1):
            upload = self._uploads.setdefault(place, Upload(name, content, self._new_key()))
            try:
                await self._attempt(await connect(), upload)
            except Failed:
                return False
            except Again as why:
                if str(why) == "begin anew" or self.broken == "C8.2":
                    del self._uploads[place]
                await trio.sleep(WAIT)
            else:
                return True
        return False

    def _new_key(self) -> str:
        if self.broken == "C8.2b":
            return "0123456789abcdef" * 2
        return secrets.token_hex(8 if self.broken == "C8.2c" else 16)

    async def _attempt(self, stream: trio.abc.Stream, upload: Upload) -> None:
        async with stream:
            rest = await request_upgrade(stream, "reference.example", "/upload", ())
            transcript = Transcript(trio.current_time)
            websocket = WebSocket(stream, "client", 1, transcript, 60, rest)
            try:
                await _Attempt(self.broken, self.offers, websocket, upload).run()
            finally:
                with trio.CancelScope(shield=True):
                    await websocket.finish(send_close=True, within=1)


@attrs.define(eq=False)
class _Attempt:
    broken: str
    offers: bool
    websocket: WebSocket
    upload: Upload
    resumes: bool = False
    at: int = 0
    """Where the next chunk begins."""
    begun_at: int = 0
    finished: bool = False

    async def run(self) -> None:
        await self.websocket.send_signal(self._metadata())
        if self.broken == "C8.1b":
            await self.websocket.send_signal({"ask": [], "n": 1})
        first = True
        while True:
            signal = await self._receive()
            if first:
                self._agree(signal)
            if signal.get("error"):
                self._error(signal)
            elif signal.get("ready"):
                if first:
                    await self._begin(signal)
                await self._answer(signal.get("chunksize") or CHUNK)
            elif signal.get("close"):
                self._close(first=first)
                return
            first = first and not (signal.get("ready") or signal.get("error"))

    def _metadata(self) -> Signal:
        upload = self.upload
        metadata: Signal = {"name": upload.name, "size": len(upload.content)}
        if self.offers:
            metadata |= {"can": ["resume"], "upload": upload.key, "modified": 1}
        if self.broken == "C8.2d" and upload.begun:
            metadata["modified"] = 2
        return metadata

    async def _receive(self) -> Signal:
        while True:
            match await self.websocket.receive(60):
                case Message(Opcode.TEXT, data):
                    signal = json.loads(data)
                    if not isinstance(signal, dict):
                        raise Failed
                    return signal
                case Close() | Ended() | Nothing():
                    raise Again if self.resumes or self.upload.begun else Failed

    def _agree(self, signal: Signal) -> None:
        can = signal.get("can")
        self.resumes = self.offers and isinstance(can, list) and "resume" in can
        if self.broken == "C8.1" and "offset" in signal:
            self.resumes = True
        self.upload.begun = self.upload.begun or self.resumes

    def _error(self, signal: Signal) -> None:
        if not signal.get("fatal"):
            return
        code = signal.get("code")
        after_taken_over = self.broken == "C8.7" and code == "taken_over"
        after_others = self.broken == "C8.8" and code not in {"taken_over", "bad_metadata"}
        if (self.resumes and code in PASSING) or after_taken_over or after_others:
            raise Again
        raise Failed

    async def _begin(self, ready: Signal) -> None:
        """Find out where to begin, from the first `ready`."""
        upload = self.upload
        if not self.resumes:
            if upload.begun and upload.old_servers < OLD_SERVERS and self.broken != "C8.9":
                upload.old_servers += 1
                raise Again
            return
        offset = ready.get("offset")
        if type(offset) is not int or not 0 <= offset <= len(upload.content):
            if self.broken != "C8.4":
                raise Failed
            offset = 0  # as if it were absent
        self.at = self.begun_at = offset
        if self.broken == "C8.3":
            self.at = upload.sent
        if self.broken == "C8.3b":
            self.at = offset - offset % 1000
        if self.broken != "C8.5" and _differs(ready.get("check"), upload.content[:offset]):
            await self.websocket.send_signal({"abandon": True})
            while not (await self._receive()).get("error"):
                pass
            raise Again("begin anew")

    async def _answer(self, limit: int) -> None:
        """Answer a `ready`."""
        upload = self.upload
        if self.at < len(upload.content):
            chunk = upload.content[self.at : self.at + limit]
            await self.websocket.send_binary(chunk)
            self.at += len(chunk)
            upload.sent = self.at
        elif not self.finished:
            hashed = upload.content[self.begun_at if self.broken == "C8.11" else 0 :]
            claim = {"type": "sha1", "value": _sha1(hashed)}
            await self.websocket.send_signal({"finished": True, "hash": claim})
            self.finished = True

    def _close(self, *, first: bool) -> None:
        """Return if `close` is success."""
        already = first and self.resumes and self.broken != "C8.6"
        believes = first and self.broken == "C8.1c"
        if not (self.finished or already or believes):
            raise Failed


def _differs(check: Signal | None, below: bytes) -> bool:
    return check is not None and check["type"] == "sha1" and check["value"] != _sha1(below)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()  # noqa: S324  # the hash of the protocol
