"""The contract of what a ledger knows of uploads to object storage, until their files are entered.

Object storage cannot be asked for it: a listing may be old, and the parts of an unfinished upload
cannot be read back. So the ledger has the name that an upload has claimed, its parts, and what else
is needed to continue it. No method waits for the object storage.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from galileod.policy.publication import OnConflict

MOST_NUMBER: Final = 1_000_000
"""The highest number that a name gets if the name is taken, and all below are."""


class NameTakenError(Exception):
    """A file has the name, or another upload has claimed it; the text says which."""


class UnsettledError(NameTakenError):
    """An earlier upload of the name is in doubt: see `Objects.doubt`."""


@frozen
class Part:
    """A part that the object storage has: its number from 1 on, its `length` in bytes and its ETag.

    `state` is that of the running hash after it.
    """

    number: int
    length: int
    etag: str
    state: bytes


@frozen
class Tail:
    """Bytes that make no whole part yet, as an object of their own with this `key`.

    They are `length` bytes of the file from `offset` on, and `state` is that of the running hash
    after them.
    """

    key: str
    offset: int
    length: int
    state: bytes


@frozen
class ObjectUpload:
    """What is known of an upload.

    `size` is that of its file, and `part_size` of each part but the last, in bytes. `name` is what
    it has claimed, `multipart` the id of the object storage; None: not yet. `completing`: its file
    may have been published. `parts` are those without a gap before them, in order. `due`: see
    `Objects.doubt`; None: it is not in doubt. `abandoned`: see `Objects.abandon`.
    """

    upload: str
    size: int
    part_size: int
    name: str | None = None
    multipart: str | None = None
    completing: bool = False
    parts: tuple[Part, ...] = ()
    tail: Tail | None = None
    due: float | None = None
    abandoned: bool = False

    @property
    def offset(self) -> int:
        """The number of bytes from the beginning of the file that are stored."""
        end = parts_end(self.parts)
        return max(end, self.tail.offset + self.tail.length) if self.tail else end


@frozen
class Claim:
    """The claim of an upload whose file is complete: see `Objects.claim_whole`."""

    upload: str
    size: int
    path: str
    on_conflict: OnConflict


def parts_end(parts: Sequence[Part]) -> int:
    """The number of bytes of parts."""
    return sum(part.length for part in parts)


class Objects(ABC):
    """The uploads to object storage. All methods raise LedgerError.

    What is durable survives a power failure, with all changes before it. `Ledger.commit` forgets an
    upload in the same transaction, `Ledger.release` does not.
    """

    @abstractmethod
    async def begin(self, upload: str, size: int, part_size: int) -> None:
        """Enter an upload. Does nothing if it is there."""

    @abstractmethod
    async def claim(
        self, upload: str, path: str, on_conflict: OnConflict, taken: Collection[str] = ()
    ) -> str:
        """Claim a name for an upload; returns it.

        No file in the ledger and no other upload has the name then. With "rename" it is `path`
        with a number if `path` is taken, up to MOST_NUMBER. With "replace" it is `path`, and
        other uploads that replace may claim it as well, unless one of them is in doubt. `taken` are
        names that are taken for another reason; they do not matter with "replace". An upload that
        has a name keeps it unless it is among them; one that gets another name is not `completing`
        any more. Raises NameTakenError, UnsettledError if no file has the name and the upload that
        has claimed it is in doubt, and UnknownUploadError without `begin`.

        The name is claimed until the upload is forgotten, so an interrupted one keeps it. It is
        durable with the next durable change.
        """

    @abstractmethod
    async def claim_whole(self, claims: Sequence[Claim]) -> Sequence[str | NameTakenError]:
        """`begin`, `claim` and `completing` for files of one part, in one durable transaction.

        Returns the name of each, in order, or why it has none: then nothing of it was entered.
        """

    @abstractmethod
    async def created(self, upload: str, multipart: str) -> None:
        """Enter the id of the multipart upload, durably. Raises UnknownUploadError."""

    @abstractmethod
    async def add_part(self, upload: str, part: Part) -> Tail | None:
        """Enter a part, durably; parts may come in any order. One of the same number is replaced.

        If parts without a gap now have all bytes of the tail, that is forgotten and returned: its
        object may be deleted. Raises UnknownUploadError.
        """

    @abstractmethod
    async def set_tail(self, upload: str, tail: Tail) -> Tail | None:
        """Enter the tail, durably; returns the one before, whose object may be deleted.

        It begins at the end of a part without a gap before it. Raises UnknownUploadError.
        """

    @abstractmethod
    async def completing(self, upload: str) -> None:
        """Enter that the file is about to be published, durably.

        Raises UnsettledError if another upload has claimed its name, and is in doubt; and
        UnknownUploadError.
        """

    @abstractmethod
    async def doubt(self, upload: str, due: float) -> None:
        """Enter that nobody waits any more for a request that publishes the file, durably.

        It may have been carried out, or be carried out later. What becomes of it is settled from
        `due` on, in seconds since the epoch. The name is no other upload's meanwhile, not even if
        both replace. Raises UnknownUploadError.
        """

    @abstractmethod
    async def resume(self, upload: str) -> ObjectUpload | None:
        """Begin to continue an upload whose file was not published; returns what is known of it.

        It is not `completing` any more, and parts behind a gap are forgotten: they will be sent
        again, and must not be joined with others than those with which they were hashed.
        """

    @abstractmethod
    async def get(self, upload: str) -> ObjectUpload | None:
        """What is known of an upload. May be cancelled while the disk hangs."""

    @abstractmethod
    async def drop(self, upload: str) -> ObjectUpload | None:
        """Forget an upload, and end its claim; returns what was known of it."""

    @abstractmethod
    async def abandon(self, upload: str, *, yields: bool) -> None:
        """Enter that nobody continues an upload that is in doubt, and nobody hears of its file.

        It stays known until that is settled. If it `yields`, others may claim its name meanwhile.
        """

    @abstractmethod
    async def hold(self, upload: str, before: float, due: float) -> bool:
        """`doubt`, if it has its name alone: then its object may be removed, by the caller only.

        Returns whether that is so: `before` is its `due` up to now, and another one would mean that
        another task or node has called this. One that has yielded claims its name again. Raises
        NameTakenError if a file has the name: then the object has replaced it, or will be replaced.
        """

    @abstractmethod
    async def known(self, multiparts: Collection[str]) -> Collection[str]:
        """Those of the ids of multipart uploads that an upload has.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    async def known_tails(self, keys: Collection[str]) -> Collection[str]:
        """Those of the keys that the tail of an upload has.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    async def abandoned(self, after: str, count: int) -> Mapping[str, float]:
        """At most `count` uploads that are neither reserved nor kept, sorted, and after `after`.

        Nobody will continue them. Returns from when on each may be settled; 0 if it is not in
        doubt. May be cancelled while the disk hangs.
        """

    @abstractmethod
    def all(self) -> Iterator[ObjectUpload]:
        """All uploads, in the order of their names. Blocks; called only at the start."""

    @abstractmethod
    def give_up(self, uploads: Collection[str], due: float) -> None:
        """`doubt` and `abandon` for many uploads. Blocks; called only at the start.

        Those without a multipart upload yield.
        """

    @abstractmethod
    def forget(self, uploads: Collection[str]) -> None:
        """`drop` for many uploads. Blocks; called only at the start."""
