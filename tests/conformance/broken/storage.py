"""Where the server keeps files, and uploads that are not complete.

The content of an upload stands in `STATE/ID.part`. An upload with a key also has a record,
`STATE/ID.json`, which is written before its first byte, so both are there after SIGKILL.
"""

import hashlib
import json
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_NAME = 255  # bytes, what Linux filesystems permit


@dataclass
class Upload:
    key: str | None
    id: str
    identity: str
    name: str
    size: int
    received: int = 0
    stored: str | None = None


class Store:
    def __init__(self, directory: Path, state: Path) -> None:
        self.directory = directory
        self.state = state
        self.lock = threading.RLock()
        self.running: dict[str, Any] = {}
        directory.mkdir(parents=True, exist_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        for part in state.glob("*.part"):
            if not part.with_suffix(".json").exists():
                part.unlink()

    def part(self, upload: Upload) -> Path:
        return self.state / f"{upload.id}.part"

    def record(self, upload: Upload) -> Path:
        return self.state / f"{upload.id}.json"

    def identify(self, key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    def find(self, key: str) -> Upload | None:
        path = self.state / f"{self.identify(key)}.json"
        if not path.exists():
            return None
        upload = Upload(key=key, id=self.identify(key), **json.loads(path.read_text()))
        part = self.part(upload)
        if part.exists():
            upload.received = part.stat().st_size
            self._complete(upload)
        return upload

    def _complete(self, upload: Upload) -> None:
        # The process may have ended between the two steps of `place`.
        if upload.stored is not None:
            target = self.directory / upload.stored
            if target.exists() and target.samefile(self.part(upload)):
                self.part(upload).unlink()
            else:
                upload.stored = None

    def begin(self, key: str | None, identity: str, name: str, size: int) -> Upload:
        identifier = secrets.token_hex(16) if key is None else self.identify(key)
        upload = Upload(key, identifier, identity, name, size)
        self.part(upload).write_bytes(b"")
        self.save(upload)
        return upload

    def save(self, upload: Upload) -> None:
        if upload.key is None:
            return
        kept = {name: getattr(upload, name) for name in ("identity", "name", "size", "stored")}
        new = self.record(upload).with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(self.record(upload))

    def append(self, upload: Upload, data: bytes) -> None:
        self.write_at(upload, upload.received, data)
        upload.received += len(data)

    def write_at(self, upload: Upload, position: int, data: bytes) -> None:
        with self.part(upload).open("r+b") as file:
            file.seek(position)
            file.write(data)

    def digest(self, upload: Upload, kind: str, start: int = 0) -> str:
        return self.hasher(upload, kind, start).hexdigest()

    def hasher(self, upload: Upload, kind: str, start: int = 0) -> "hashlib._Hash":
        digest = hashlib.new(kind)
        with self.part(upload).open("rb") as file:
            file.seek(start)
            while block := file.read(1 << 20):
                digest.update(block)
        return digest

    def discard(self, upload: Upload) -> None:
        self.record(upload).unlink(missing_ok=True)
        self.part(upload).unlink(missing_ok=True)

    def place(self, upload: Upload) -> str:
        number = 0
        while True:
            name = numbered(upload.name, number)
            upload.stored = name
            self.save(upload)
            try:
                os.link(self.part(upload), self.directory / name)
            except FileExistsError:
                number += 1
                continue
            self.part(upload).unlink()
            return name


def numbered(name: str, number: int) -> str:
    """`name`, or `stem (number).suffix` if `number` is not 0; at most MAX_NAME bytes."""
    if not number:
        return name
    suffix = Path(name).suffix
    ending = f" ({number}){suffix}"
    stem = name.removesuffix(suffix).encode()[: MAX_NAME - len(ending.encode())]
    return stem.decode(errors="ignore") + ending
