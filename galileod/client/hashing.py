"""The hash that is sent with a file."""

import hashlib
import threading
from typing import Final

from .errors import OptionError

HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")
"""The types that galileod accepts."""


class FileHash:
    """The hash of the first `position` bytes of a file; no hash if `kind` is None."""

    def __init__(self, kind: str | None) -> None:
        self.position = 0
        self._kind = kind
        self._hash = hashlib.new(kind, usedforsecurity=False) if kind is not None else None
        self._lock = threading.Lock()  # position and hash change together

    def update(self, offset: int, data: bytes | memoryview) -> None:
        """Hash those of the bytes at `offset` that follow on what is hashed.

        Does nothing if there is a gap between them. Takes about 1 ms per MiB: call it in a thread.
        """
        with self._lock:
            known = self.position - offset
            if self._hash is None or not 0 <= known < len(data):
                return
            self._hash.update(memoryview(data)[known:])
            self.position = offset + len(data)

    def append(self, data: bytes | memoryview) -> None:
        """Hash bytes that follow on what is hashed."""
        self.update(self.position, data)

    def state(self) -> tuple[int, dict[str, str]]:
        """The position, and what `hashes` gives for it, while threads call `update`."""
        with self._lock:
            return self.position, self.hashes()

    def lacks(self, offset: int) -> bool:
        """Whether bytes below `offset` are still to be hashed."""
        return self._hash is not None and self.position < offset

    def hashes(self) -> dict[str, str]:
        """A mapping from the type to the hash in hex; empty if there is no hash."""
        return {self._kind: self._hash.hexdigest()} if self._kind is not None and self._hash else {}

    def differs(self, kind: str, value: str) -> bool:
        """Whether another hash of the same type is known to be of other bytes."""
        return self.hashes().get(kind, value) != value


def check_hash(kind: object) -> str | None:
    """The type in lower case; None for "none" and for None. Raises OptionError."""
    known = kind.lower() if isinstance(kind, str) else kind
    if known is None or known == "none":
        return None
    if isinstance(known, str) and known in HASHES:
        return known
    raise OptionError(f"Unknown hash {kind!r}. Expected {', '.join(HASHES)} or none.")
