"""What a storage backend is: a store that makes sinks, and a sink that takes one file."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from attrs import frozen

RUNNING_HASH: Final = "sha1"
"""The hash that is computed while data arrives: the protocol's own."""

CLEANUP_SECONDS: Final = 5.0
"""At most so long is spent on removing what was not committed; the rest is done at the start."""


_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}


class StorageError(Exception):
    """The storage failed; the text says at which step and why."""


class NoSpaceError(StorageError):
    """There is no room left for the file."""


class ConflictError(StorageError):
    """A file of that name is there already, and must stay."""


@frozen
class Stored:
    """A committed file: the name that it got, below the store's directory, and where it stands."""

    name: str
    path: str


class Sink(ABC):
    """Takes the bytes of one file. Nothing is visible before `commit`, everything after it.

    Leaving its `async with` removes what was not committed. Every method may raise StorageError.
    `replaces` says whether `commit` may put the file in another's place.
    """

    replaces: bool

    @abstractmethod
    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces in order, and feed the running hash."""

    @abstractmethod
    async def digest(self, kind: str) -> str:
        """The hash of all that was written, in lower-case hex. `kind` is a name of hashlib's."""

    @property
    @abstractmethod
    def inode(self) -> int:
        """The number by which the store knows the file again, also after a crash."""

    @abstractmethod
    async def commit(self) -> Stored:
        """Publish the file. When this returns, it is as durable as the store was told to be."""

    @abstractmethod
    async def discard(self) -> None:
        """Remove what was not committed, within CLEANUP_SECONDS; do nothing after a commit.

        Works in a cancelled scope too, and never raises: what stays is removed at the next start.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.discard()


class Store(ABC):
    """A place for finished files."""

    @abstractmethod
    async def create(self, upload: str, path: str) -> Sink:
        """Begin a file that shall stand at `path`, a safe name behind any number of safe folders.

        `upload` is unique among running uploads.
        """

    @abstractmethod
    async def free(self) -> int:
        """How many bytes there is room for."""

    @abstractmethod
    async def check(self) -> None:
        """Raise StorageError if files cannot be stored now."""


@contextmanager
def translated(step: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the step."""
    try:
        yield
    except OSError as error:
        kind = NoSpaceError if error.errno in _NO_ROOM else StorageError
        raise kind(f"{step}: {error.strerror or error}") from error
