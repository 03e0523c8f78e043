"""The hash that goes along with a file."""

import hashlib
from collections.abc import Callable
from typing import Final

from .errors import OptionError

Note = Callable[[bytes | memoryview], None]
"""Takes the next bytes of a file."""

KINDS: Final = ("sha1", "sha256", "sha512", "blake2b")
"""What servers know: galileod takes these four."""


class FileHash:
    """The running hash of one file; with `kind` None there is none."""

    def __init__(self, kind: str | None) -> None:
        self._kind = kind
        self._hash = hashlib.new(kind, usedforsecurity=False) if kind is not None else None

    def note(self, data: bytes | memoryview) -> None:
        """Hash the next bytes. Long, so it belongs in a thread."""
        if self._hash is not None:
            self._hash.update(data)

    def hashes(self) -> dict[str, str]:
        """By type, in hex: one, or none."""
        return {self._kind: self._hash.hexdigest()} if self._kind is not None and self._hash else {}


def known_hash(kind: object) -> str | None:
    """The kind in lower case; None for "none", and for None itself. Raises OptionError."""
    known = kind.lower() if isinstance(kind, str) else kind
    if known is None or known == "none":
        return None
    if isinstance(known, str) and known in KINDS:
        return known
    raise OptionError(f"There is no hash {kind!r}. Take {', '.join(KINDS)}, or none.")
