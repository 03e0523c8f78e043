"""The hash that is sent with a file."""

import hashlib
from collections.abc import Callable
from typing import Final

from .errors import OptionError

Update = Callable[[bytes | memoryview], None]
"""Adds the next bytes of a file to the hash."""

HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")
"""The types that galileod accepts."""


class FileHash:
    """The hash of one file as it is read; no hash if `kind` is None."""

    def __init__(self, kind: str | None) -> None:
        self._kind = kind
        self._hash = hashlib.new(kind, usedforsecurity=False) if kind is not None else None

    def update(self, data: bytes | memoryview) -> None:
        """Hash the next bytes. Takes about 1 ms per MiB: call it in a thread."""
        if self._hash is not None:
            self._hash.update(data)

    def hashes(self) -> dict[str, str]:
        """A mapping from the type to the hash in hex; empty if there is no hash."""
        return {self._kind: self._hash.hexdigest()} if self._kind is not None and self._hash else {}


def check_hash(kind: object) -> str | None:
    """The type in lower case; None for "none" and for None. Raises OptionError."""
    known = kind.lower() if isinstance(kind, str) else kind
    if known is None or known == "none":
        return None
    if isinstance(known, str) and known in HASHES:
        return known
    raise OptionError(f"Unknown hash {kind!r}. Expected {', '.join(HASHES)} or none.")
