"""The identity of this node: a random text that a process started again with its directory has."""

import os
import re
import secrets
from typing import Final

from galileod.storage.errors import StorageError
from galileod.storage.oserrors import translated

_IDENTITY: Final = re.compile(rb"[0-9a-f]{32}\n")

_LENGTH: Final = 33


def read_identity(path: str) -> str:
    """The identity in the file at `path`, which is made if there is none, durably. Blocks.

    Only one process may do so at a time. Raises StorageError.
    """
    with translated(f"cannot read or write {path}"):
        try:
            with open(path, "rb", opener=_private) as file:
                content = file.read(_LENGTH + 1)
        except FileNotFoundError:
            content = f"{secrets.token_hex(16)}\n".encode()
            _write(path, content)
    if not _IDENTITY.fullmatch(content):
        raise StorageError(f"{path} is damaged; remove it, and start galileod again")
    return content.decode().strip()


def _write(path: str, content: bytes) -> None:
    new = f"{path}.new"
    with open(new, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _private(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a FIFO must not wait for another process.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
