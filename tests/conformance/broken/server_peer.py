"""A server without a fault: the core of the protocol, and `resume`."""

import json
import re
import time
from collections import deque
from typing import Any, NoReturn

from conformance.broken.storage import MAX_NAME, Store, Upload
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection

MAX_SIZE = 2**63 - 1
KEEP = 3600  # seconds that are promised; nothing is ever removed
IDLE = 60.0  # seconds without a message
LINGER = 5.0  # seconds that the client has to close after the last signal
HASHES = ("sha1", "sha256", "sha512", "blake2b")
DISCARDING = frozenset({"hash_mismatch", "size_mismatch", "bad_chunk", "bad_message", "abandoned"})
BROKEN_FRAMES = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)

Signal = dict[str, Any]


class RefusalError(Exception):
    """The upload has failed, and the client is told `code`."""

    def __init__(self, code: str, sentence: str, **details: object) -> None:
        super().__init__(sentence)
        self.code = code
        self.signal = {**details, "error": sentence, "fatal": True, "code": code}


class Session:
    """One connection. Each message is processed under the lock of the store."""

    chunk = 250_000
    window = 4
    max_signal = 32 * 1024
    max_empty = 64
    protocol: type[ServerProtocol] = ServerProtocol
    store_class: type[Store] = Store

    def __init__(self, connection: ServerConnection, store: Store) -> None:
        self.connection = connection
        self.store = store
        self.upload: Upload | None = None
        self.credits: deque[int] = deque()
        self.empty = 0
        self.asked = False
        self.over = False
        self.close_code = (1000, "stored")
        self.agreed: list[str] = []
        self.greeting: Signal = {}

    # The connection

    def run(self) -> None:
        try:
            while not self.over:
                message = self.receive()
                if message is not None:
                    with self.store.lock:
                        self.handle(message)
            self.linger()
        except ConnectionClosed as end:
            with self.store.lock:
                self.lost(end)
        finally:
            with self.store.lock:
                self.release()

    def receive(self) -> str | bytes | None:
        deadline = time.monotonic() + IDLE
        while not self.over:
            try:
                return self.connection.recv(timeout=0.5)
            except TimeoutError:
                if time.monotonic() > deadline:
                    with self.store.lock:
                        self.fail(RefusalError("idle", "Nothing was received for a minute."))
        return None

    def linger(self) -> None:
        deadline = time.monotonic() + LINGER
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.connection.recv(timeout=left)
            except TimeoutError:
                break
        self.connection.close(*self.close_code)

    def lost(self, end: ConnectionClosed) -> None:
        invalid = end.sent is not None and end.rcvd is None and end.sent.code in BROKEN_FRAMES
        if invalid and self.upload is not None and not self.over:
            self.store.discard(self.upload)

    def release(self) -> None:
        if self.upload is None:
            return
        if self.upload.key is None:
            if self.upload.stored is None:
                self.store.discard(self.upload)
        elif self.store.running.get(self.upload.key) is self:
            del self.store.running[self.upload.key]

    def send(self, signal: Signal) -> None:
        self.connection.send(json.dumps({**signal, **self.greeting}))
        self.greeting = {}

    def fail(self, refused: RefusalError) -> None:
        if self.over:
            return
        self.over = True
        self.close_code = (1008, refused.code)
        if self.upload is not None and refused.code in DISCARDING:
            self.store.discard(self.upload)
        self.release()
        self.upload = None
        try:
            self.send(refused.signal)
        except ConnectionClosed:
            pass  # the next call that reads from this connection meets it too

    # Signals

    def handle(self, message: str | bytes) -> None:
        if self.over:
            return
        try:
            if isinstance(message, bytes):
                self.on_binary(message)
            else:
                self.on_text(message)
        except RefusalError as refused:
            self.fail(refused)
        except OSError as error:
            self.fail(
                RefusalError("storage_failed", f"The file cannot be stored: {error.strerror}.")
            )

    def parse(self, text: str) -> Signal:
        if len(text.encode()) > self.max_signal:
            raise RefusalError("bad_message", "The signal is too long.", limit=self.max_signal)
        try:
            signal = json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            raise RefusalError("bad_message", "The signal is not JSON.") from None
        if not isinstance(signal, dict):
            raise RefusalError("bad_message", "The signal is not an object.")
        return signal

    def is_true(self, value: object) -> bool:
        return value is True or (value == 1 and not isinstance(value, bool))

    def on_text(self, text: str) -> None:
        signal = self.parse(text)
        if self.is_true(signal.get("finished")):
            self.on_finished(signal)
        elif "name" in signal or "size" in signal:
            self.on_metadata(signal)
        elif self.may_abandon() and self.is_true(signal.get("abandon")):
            raise RefusalError("abandoned", "The upload was abandoned.")

    def may_abandon(self) -> bool:
        return bool(self.agreed)

    # Metadata

    def on_metadata(self, signal: Signal) -> None:
        if self.upload is not None:
            raise RefusalError("bad_message", "A second file on this connection.")
        name = self.check_name(signal)
        size = self.check_size(signal)
        can = self.extensions(signal)
        key = self.check_key(signal, can)
        self.agreed = self.agree(can, key)
        if can is not None:
            self.greeting = {"can": self.agreed}
        self.begin(signal, self.safe_name(name), size, key if "resume" in self.agreed else None)

    def check_name(self, signal: Signal) -> str:
        name = signal.get("name")
        if not isinstance(name, str):
            raise RefusalError("bad_metadata", "The name is not a string.", key="name")
        return name

    def check_size(self, signal: Signal) -> int:
        size = signal.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
            raise RefusalError("bad_metadata", "The size is not valid.", key="size")
        return size

    def extensions(self, signal: Signal) -> list[Any] | None:
        can = signal.get("can")
        return can if isinstance(can, list) else None

    def check_key(self, signal: Signal, can: list[Any] | None) -> str | None:
        if can is None or "resume" not in can or "upload" not in signal:
            return None
        key = signal["upload"]
        if not isinstance(key, str) or not re.fullmatch("[0-9a-fA-F]{32}", key):
            raise RefusalError("bad_metadata", "The key is not 32 digits.", key="upload")
        return self.normal_key(key)

    def normal_key(self, key: str) -> str:
        return key.lower()

    def agree(self, can: list[Any] | None, key: str | None) -> list[str]:
        return ["resume"] if can is not None and "resume" in can and key is not None else []

    def safe_name(self, name: str) -> str:
        last = re.split(r"[/\\]", name)[-1]
        control = any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in last)
        if last in {"", ".", ".."} or control:
            raise RefusalError("bad_name", "The name cannot be used.")
        try:
            length = len(last.encode())
        except UnicodeEncodeError:
            raise RefusalError("bad_name", "The name is not Unicode.") from None
        if length > MAX_NAME:
            raise RefusalError("bad_name", "The name is too long.")
        return last

    def identity(self, signal: Signal) -> str:
        folder, modified = signal.get("folder"), signal.get("modified")
        return json.dumps(
            [
                signal.get("name"),
                signal.get("size"),
                folder if isinstance(folder, str) else None,
                modified if type(modified) is int else None,
            ]
        )

    def begin(self, signal: Signal, name: str, size: int, key: str | None) -> None:
        identity = self.identity(signal)
        known = None if key is None else self.store.find(key)
        if known is not None and known.identity != identity:
            self.other_file(known)
        if known is not None and known.stored is not None:
            self.already_stored(known, signal)
            return
        if key is not None:
            self.take_over(key)
            if self.is_true(signal.get("abandon")):
                self.abandon_kept(known)
            self.store.running[key] = self
        self.upload = known or self.store.begin(key, identity, name, size)
        self.upload.name = name
        if key is not None:
            self.greeting |= self.resumption(self.upload)
        self.grant()

    def other_file(self, known: Upload) -> NoReturn:
        del known
        raise RefusalError("bad_metadata", "The key is that of another file.", key="upload")

    def already_stored(self, known: Upload, signal: Signal) -> None:
        self.send_close(signal["name"], known.stored or known.name)

    def abandon_kept(self, known: Upload | None) -> None:
        if known is not None:
            self.store.discard(known)
        raise RefusalError("abandoned", "The upload was abandoned.")

    def take_over(self, key: str) -> None:
        older = self.store.running.get(key)
        if older is not None:
            older.fail(RefusalError("taken_over", "Another connection continues this upload."))

    def resumption(self, upload: Upload) -> Signal:
        check: Signal = {}
        if upload.received:
            check = {"check": {"type": "sha1", "value": self.store.digest(upload, "sha1")}}
        return {"offset": upload.received, "keep": KEEP, **check}

    # Credits and chunks

    def current(self) -> Upload:
        if self.upload is None:
            raise RefusalError("bad_message", "The metadata are missing.")
        return self.upload

    def missing(self, upload: Upload) -> int:
        return upload.size - upload.received

    def grant(self) -> None:
        upload = self.current()
        if not self.missing(upload) and not self.asked:
            self.asked = True
            self.send({"ready": True})
        while len(self.credits) < self.window and sum(self.credits) < self.missing(upload):
            self.send_credit(min(self.chunk, self.missing(upload) - sum(self.credits)))

    def send_credit(self, size: int) -> None:
        self.credits.append(size)
        self.send({"ready": True, "chunksize": size})

    def on_binary(self, data: bytes) -> None:
        upload = self.current()
        if data:
            self.take_credit(upload, data)
            self.keep_chunk(upload, data)
            self.grant()
        else:
            self.on_empty(upload)

    def take_credit(self, upload: Upload, data: bytes) -> None:
        if not self.missing(upload):
            self.wrong_size(upload, upload.received + len(data))
        limit = self.credits.popleft() if self.credits else 0
        if len(data) > limit:
            raise RefusalError("bad_chunk", "Too much data.", limit=limit, received=len(data))

    def keep_chunk(self, upload: Upload, data: bytes) -> None:
        self.store.append(upload, data)

    def on_empty(self, upload: Upload) -> None:
        self.empty += 1
        if self.empty > self.max_empty or (self.missing(upload) and not self.credits):
            raise RefusalError("bad_chunk", "An empty chunk.", limit=self.max_empty)
        if self.credits:
            self.credits.popleft()
        self.asked = False
        self.grant()

    # The end of the file

    def on_finished(self, signal: Signal) -> None:
        upload = self.current()
        if self.missing(upload):
            self.wrong_size(upload, upload.received)
        self.verify(upload, signal.get("hash"))
        self.finish(upload)

    def wrong_size(self, upload: Upload, received: int) -> NoReturn:
        sentence = f"Expected: {upload.size} bytes. Got: {received} bytes."
        raise RefusalError("size_mismatch", sentence, expected=upload.size, received=received)

    def verify(self, upload: Upload, stated: object) -> None:
        if stated is None:
            return
        kind = stated.get("type") if isinstance(stated, dict) else None
        value = stated.get("value") if isinstance(stated, dict) else None
        if not isinstance(kind, str) or not isinstance(value, str):
            raise RefusalError("bad_message", "The hash is not valid.")
        if self.normal_type(kind) not in HASHES:
            self.unknown_type(kind)
            return
        actual = self.content_hash(upload, self.normal_type(kind))
        if not self.same_hash(actual, value):
            raise RefusalError("hash_mismatch", "Wrong hash.", expected=value, received=actual)

    def normal_type(self, kind: str) -> str:
        return kind.lower()

    def unknown_type(self, kind: str) -> None:
        raise RefusalError("unsupported_hash", "The hash type is not known.", type=kind)

    def content_hash(self, upload: Upload, kind: str) -> str:
        return self.store.digest(upload, kind)

    def same_hash(self, actual: str, stated: str) -> bool:
        return actual == stated.lower()

    def finish(self, upload: Upload) -> None:
        stored = self.store.place(upload)
        self.send_close(json.loads(upload.identity)[0], stored)

    def send_close(self, announced: str, stored: str) -> None:
        self.over = True
        self.send({"close": True} if stored == announced else {"close": True, "name": stored})


def unique(pairs: list[tuple[str, Any]]) -> Signal:
    signal = dict(pairs)
    if len(signal) != len(pairs):
        raise ValueError("duplicate key")
    return signal


def refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)
