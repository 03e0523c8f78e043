"""Servers with a fault in signals, metadata, names or frames.

The docstring of a class says what it does wrong.
"""

import json
import posixpath
import re
import unicodedata
from typing import Final

from conformance.broken.frames import (
    EmptyFragmentEnds,
    EmptyPong,
    FragmentIsMessage,
    LenientText,
    NoClose,
)
from conformance.broken.registry import registrar
from conformance.broken.server_peer import (
    MAX_SIZE,
    RefusalError,
    Session,
    Signal,
    refuse_constant,
)
from conformance.broken.storage import Store, Upload
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol

FAULTS: Final[dict[str, type[Session]]] = {}

BLOCK = 4096


fault = registrar(FAULTS)


# Signals


@fault("only-json-true")
class OnlyJsonTrue(Session):
    """Takes `true` only as the boolean, so `"finished": 1` has no effect."""

    def is_true(self, value: object) -> bool:
        return value is True


@fault("text-limit-4096")
class TextLimit(Session):
    """Refuses every signal that is longer than 4,096 bytes."""

    max_signal = 4096


@fault("other-json-ignored")
class OtherJsonIgnored(Session):
    """Ignores a TEXT message that is JSON but no object, such as a list, and waits on."""

    def parse(self, text: str) -> Signal:
        try:
            value = json.loads(text, parse_constant=refuse_constant)
        except ValueError:
            value = None
        return {} if isinstance(value, (list, str, int, float)) else super().parse(text)


# Metadata, names and sizes


@fault("size-through-float")
class SizeThroughFloat(Session):
    """Converts the size by way of a floating-point number: takes 1e3, 5.0 and 2^63."""

    def check_size(self, signal: Signal) -> int:
        size = signal.get("size")
        if isinstance(size, bool) or not isinstance(size, (int, float)):
            return super().check_size(signal)
        if not 0 <= float(size) <= float(MAX_SIZE):
            return super().check_size(signal)
        return int(float(size))


@fault("size-32-bits")
class Size32Bits(Session):
    """Keeps only the lower 32 bits of the size."""

    def check_size(self, signal: Signal) -> int:
        return super().check_size(signal) & 0xFFFFFFFF


@fault("true-is-a-size")
class TrueIsASize(Session):
    """Takes `"size": true` for a file of one byte, as booleans are integers in Python."""

    def check_size(self, signal: Signal) -> int:
        size = signal.get("size")
        return int(size) if isinstance(size, bool) else super().check_size(signal)


@fault("directory-key")
class DirectoryKey(Session):
    """Stores the file in a subdirectory if the metadata name a `directory`."""

    def begin(self, signal: Signal, name: str, size: int, key: str | None) -> None:
        directory = signal.get("directory")
        inner = posixpath.basename(directory.rstrip("/")) if isinstance(directory, str) else ""
        if inner not in {"", ".", ".."}:
            (self.store.directory / inner).mkdir(exist_ok=True)
            name = f"{inner}/{name}"
        super().begin(signal, name, size, key)

    def send_close(self, announced: str, stored: str) -> None:
        super().send_close(announced, posixpath.basename(stored))


@fault("parent-directory")
class ParentDirectory(Session):
    """Takes a name that begins with `../` as a path, and stores above its directory."""

    def relative(self, name: str) -> str:
        return name

    def safe_name(self, name: str) -> str:
        # One level is enough as a fault; more would reach the files of the machine.
        match = re.fullmatch(r"(?:\.\./)+([^/\\]+)", self.relative(name))
        return f"../{super().safe_name(match[1])}" if match else super().safe_name(name)

    def send_close(self, announced: str, stored: str) -> None:
        super().send_close(announced, posixpath.basename(stored))


@fault("parent-after-removal")
class ParentAfterRemoval(ParentDirectory):
    """Removes `../` from names in one pass only, so `....//x` is stored above the directory."""

    def relative(self, name: str) -> str:
        return name.replace("../", "")


@fault("folder-in-close")
class FolderInClose(Session):
    """Stores the file below the client's `folder`, and states that path as `name` in `close`."""

    def begin(self, signal: Signal, name: str, size: int, key: str | None) -> None:
        folder = signal.get("folder")
        if isinstance(folder, str) and re.fullmatch(r"\w[\w/]*", folder):
            (self.store.directory / folder).mkdir(parents=True, exist_ok=True)
            name = f"{folder}/{name}"
        super().begin(signal, name, size, key)


@fault("nul-ends-name")
class NulEndsName(Session):
    """Cuts a name at a NUL, as C does, and does not tell the client."""

    def safe_name(self, name: str) -> str:
        return super().safe_name(name.partition("\0")[0])

    def send_close(self, announced: str, stored: str) -> None:
        super().send_close(announced.partition("\0")[0], stored)


@fault("name-normalised")
class NameNormalised(Session):
    """Stores names in the Unicode form NFC, and does not tell a client that used another one."""

    def safe_name(self, name: str) -> str:
        return super().safe_name(unicodedata.normalize("NFC", name))

    def send_close(self, announced: str, stored: str) -> None:
        super().send_close(unicodedata.normalize("NFC", announced), stored)


@fault("rename-untold")
class RenameUntold(Session):
    """Does not state the new name in `close` if the name was taken."""

    def send_close(self, announced: str, stored: str) -> None:
        super().send_close(announced, announced if " (" in stored else stored)


class StoreByName(Store):
    def begin(self, key: str | None, identity: str, name: str, size: int) -> Upload:
        upload = super().begin(key, identity, name, size)
        if key is None:
            self.discard(upload)
            upload.id = self.identify(name)
            self.part(upload).write_bytes(b"")
        return upload

    def discard(self, upload: Upload) -> None:
        self.part(upload).unlink(missing_ok=True)
        self.record(upload).unlink(missing_ok=True)

    def write_at(self, upload: Upload, position: int, data: bytes) -> None:
        self.part(upload).touch()
        super().write_at(upload, position, data)

    def place(self, upload: Upload) -> str:
        self.part(upload).touch()
        return super().place(upload)


@fault("shared-temporary")
class SharedTemporary(Session):
    """Names the temporary file after the file, so two uploads of one name at once are mixed."""

    store_class = StoreByName


# Errors


@fault("ready-after-error")
class ReadyAfterError(Session):
    """Grants the next chunk also after a chunk that it has refused."""

    def fail(self, refused: RefusalError) -> None:
        was_over = self.over
        super().fail(refused)
        if refused.code == "bad_chunk" and not was_over:
            try:
                self.send({"ready": True, "chunksize": self.chunk})
            except ConnectionClosed:
                pass  # the client has closed already


# Frames


class EmptyPongProtocol(EmptyPong, ServerProtocol):
    pass


class NoCloseProtocol(NoClose, ServerProtocol):
    pass


class FragmentIsMessageProtocol(FragmentIsMessage, ServerProtocol):
    pass


class LenientTextProtocol(LenientText, ServerProtocol):
    pass


class EmptyFragmentProtocol(EmptyFragmentEnds, ServerProtocol):
    pass


@fault("text-not-checked")
class TextNotChecked(Session):
    """Replaces what is not UTF-8 in a TEXT message, rather than to fail the upload."""

    protocol = LenientTextProtocol


@fault("empty-pong")
class EmptyPongServer(Session):
    """Answers each Ping with a Pong without payload."""

    protocol = EmptyPongProtocol


@fault("no-close-frame")
class NoCloseFrame(Session):
    """Answers a Close frame by closing the TCP connection, without a Close frame."""

    protocol = NoCloseProtocol


@fault("fragment-is-chunk")
class FragmentIsChunk(Session):
    """Takes each fragment of a message for a message of its own."""

    protocol = FragmentIsMessageProtocol


@fault("empty-fragment-ends")
class EmptyFragmentEndsServer(Session):
    """Takes an empty fragment for the end of its message."""

    protocol = EmptyFragmentProtocol
