"""The hash that goes along with a file."""

import hashlib
from collections.abc import Callable

from .errors import OptionError

Note = Callable[[bytes | memoryview], None]
"""Takes the next bytes of a file."""


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


def check_hash(_: object, __: object, kind: str | None) -> None:
    """Raises OptionError for what is no hash that has a hex value of its own."""
    try:
        FileHash(kind).hashes()
    except (ValueError, TypeError):  # unknown; or of any length, as the shake family
        raise OptionError(
            f"There is no hash {kind!r}. Take sha1, sha256, sha512, blake2b, or none."
        ) from None
