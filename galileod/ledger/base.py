"""The contract of a ledger: the owners of files, and what running uploads have reserved.

A store that lists its files is authoritative: a start makes the ledger agree with it (`reconcile`).
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import frozen

from galileod.policy.publication import Durability, OnConflict
from galileod.policy.quota import Holding

from .objects import Objects
from .outbox import Outbox
from .records import About, Commit, Records

if TYPE_CHECKING:
    from .elsewhere import Elsewhere  # which needs Found
    from .node import Node  # which needs LedgerError

MOST_REMEMBERED: Final = 1_000_000
"""Maximum number of stored uploads whose keys are remembered."""

UNKNOWN_USER: Final = ""
"""The owner of a file that was not stored by an upload."""

Clock = Callable[[], float]
"""Returns the time in seconds since the epoch; called from any thread."""

Allow = Callable[[Holding, Holding], None]
"""Gets what all users hold and what the upload's user holds; raises to refuse a reservation."""

Step = Callable[[], None]
"""Called often while a method works on the whole ledger, in its thread; raises to end that."""


def ignore_step() -> None:
    """For callers that do not report progress."""


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says why. Clients are not told its `place`."""

    def __init__(self, reason: str = "", place: str = "") -> None:
        super().__init__(reason, place)
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        return self.reason + self.place


class UncertainError(LedgerError):
    """The connection was lost at the end of a transaction, which may have taken effect."""


class UnknownUploadError(LedgerError):
    """The ledger has no such upload, or not in that state."""


class KeyTakenError(LedgerError):
    """Another node has begun, kept or stored an upload with the same key: `find` has it now."""


class AlreadyUsedError(Exception):
    """A single-use ticket was used before, or has expired."""


@frozen
class SingleUse:
    """A ticket that is valid for one upload: its id, and its expiry in seconds since the epoch."""

    id: str
    until: float


@frozen
class Resumable:
    """What is fixed at the beginning of an upload that may be resumed.

    `key` is a hash of the client's key and of its owner; `metadata` is a hash of the size, name,
    folder and modification time. `path`, `on_conflict` and `durability` are what the store was
    asked for. `name` is the name that the client sent. `authenticated` tells whether the upload's
    user is a known one, or an address.
    """

    key: str
    metadata: str
    name: str
    path: str
    on_conflict: OnConflict
    durability: Durability
    authenticated: bool


@frozen
class KeptUpload:
    """An interrupted upload that may be resumed.

    The first `offset` bytes are there, of which `durable` survive a power failure. It is kept until
    `until`, and began at `began`, in seconds since the epoch. `about` is None if an older version
    has kept it.
    """

    upload: str
    user: str
    size: int
    resumable: Resumable
    offset: int
    durable: int
    began: float
    until: float
    about: About | None = None


@frozen
class StoredUpload:
    """An upload that was stored as `name`; `metadata` is that of its Resumable."""

    metadata: str
    name: str


@frozen
class RunningUpload:
    """An upload that runs at another node of the ledger; `metadata` is that of its Resumable."""

    upload: str
    metadata: str
    node: str


Found = KeptUpload | StoredUpload | RunningUpload | None
"""The upload with a key, as far as it concerns a connection that claims it."""


@frozen
class WholeEntry:
    """An upload whose file is complete: it is reserved and promised in one step.

    The attributes are the arguments of `Ledger.reserve` and `Ledger.promise`. Without `identity`,
    it is only reserved. If `reserved`, it has a reservation already, and is only promised.
    """

    upload: str
    user: str
    size: int
    allow: Allow
    ticket: SingleUse | None = None
    resumable: Resumable | None = None
    identity: str | None = None
    receipt: str | None = None
    reserved: bool = False
    about: About | None = None
    sha1: str | None = None


Entered = Found | Exception
"""What became of a WholeEntry: None if it was entered; the upload that has its key already, or why
it was refused. Then nothing of it was recorded."""


@frozen
class Recovery:
    """What the store has found of the uploads of an earlier process.

    `offsets` has the bytes that are left of each interrupted upload, `names` the name of each that
    was published although the ledger does not know it. Uploads are kept, and stored ones
    remembered, for `seconds`.
    """

    offsets: Mapping[str, int] = MappingProxyType({})
    names: Mapping[str, str] = MappingProxyType({})
    seconds: float = 0


class Ledger(Records):
    """The ledger of one store. All methods raise LedgerError.

    `is_new`: `reconcile` has found no file in it, and was not told which ones are stored. `node` is
    this process, if others may write to the ledger at the same time, and `elsewhere` asks those.
    Texts can be encoded as UTF-8 and are without NUL; sizes are below 2**63.
    """

    outbox: Outbox
    objects: Objects
    is_new: bool = False
    node: "Node | None" = None
    elsewhere: "Elsewhere | None" = None

    @abstractmethod
    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None = None,
        resumable: Resumable | None = None,
        about: About | None = None,
    ) -> None:
        """Reserve `size` bytes and one file for an upload; with `resumable`, it may be kept.

        `about` is recorded with the reservation, and becomes part of the file's record.

        `allow` is called while no other reservation can be made. If it raises, nothing is reserved
        and the exception is passed on. `ticket` is marked as used in the same transaction. Raises
        AlreadyUsedError if another upload has used the ticket, or if it has expired. A reservation
        with the same `Resumable.key`, which was not released when it failed, is replaced, unless it
        is another node's. Raises LedgerError if a kept upload has the key: a KeyTakenError if other
        nodes may have kept it, as for what they run or have stored.
        """

    @abstractmethod
    async def promise(
        self, upload: str, identity: str, receipt: str | None = None, sha1: str | None = None
    ) -> None:
        """Record that the upload's file is about to be published.

        `identity` is `Sink.identity` of the file, `receipt` what is owed to the hook once it is
        published. When this returns, the record is durable. Raises UnknownUploadError without a
        reservation, which a failover may lose: nobody would ever record the file.
        """

    async def commit(
        self,
        upload: str,
        name: str,
        remember: float = 0,
        sha1: str | None = None,
        made: Sequence[str] = (),
    ) -> None:
        """Replace a reservation with the stored file `name`, and make its receipt due.

        The entry of a file with the same name is replaced. If the upload is resumable, `find`
        returns a StoredUpload for its key for `remember` seconds. `sha1` is that of the promise
        if None, and `made` are the folders that were made for the file. Raises LedgerError if
        there is no such reservation.
        """
        (error,) = await self.commit_whole([Commit(upload, name, remember, sha1, made)])
        if error is not None:
            raise error

    @abstractmethod
    async def release(self, upload: str) -> None:
        """Drop a reservation or a kept upload. Does nothing if it was committed, or never made."""

    @abstractmethod
    async def enter_whole(self, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        """Reserve and promise many uploads in one transaction, in their order.

        It is durable if one of them has an identity. Returns one result for each, as `find`,
        `reserve` and `promise` return and raise it; what `allow` gets includes the entries before.
        With a ticket, what is kept is returned only if the ticket can be used for it.
        Raises LedgerError if the transaction fails: then nothing is recorded.
        """

    @abstractmethod
    async def commit_whole(self, commits: Sequence[Commit]) -> Sequence[LedgerError | None]:
        """`commit` for many uploads in one transaction.

        Returns one result for each, an error where there is no such reservation. Raises LedgerError
        if the transaction fails.
        """

    @abstractmethod
    async def release_whole(self, uploads: Sequence[str]) -> None:
        """`release` for many uploads in one transaction."""

    @abstractmethod
    async def find(self, key: str) -> Found:
        """The upload with this `Resumable.key`.

        None unless it is kept, or was stored and not forgotten, or runs at another node.
        """

    @abstractmethod
    async def checkpoint(self, upload: str, durable: int) -> None:
        """Record that `durable` bytes of an upload survive a power failure; the record does too."""

    @abstractmethod
    async def keep(
        self, upload: str, offset: int, durable: int, seconds: float, most: int
    ) -> Sequence[KeptUpload]:
        """Turn the reservation of a resumable upload into a kept upload, for `seconds`; durably.

        It then counts as `offset` kept bytes. What was promised is withdrawn. Returns the oldest
        kept uploads of the same user beyond `most`, whose entries are dropped.
        """

    @abstractmethod
    async def resume(self, upload: str, allow: Allow) -> None:
        """Turn a kept upload into a reservation of its whole size; `allow` is as for `reserve`.

        Raises UnknownUploadError if there is no such kept upload.
        """

    @abstractmethod
    async def expire(self, most: int) -> Sequence[KeptUpload]:
        """Drop the entries of at most `most` kept uploads whose time is over; returns them.

        Also forgets stored uploads whose time is over, and the oldest beyond MOST_REMEMBERED.
        """

    @abstractmethod
    async def give_way(self, user: str | None, *, authenticated: bool) -> KeptUpload | None:
        """Drop the entry of the kept upload that gives way next; returns it, None without one.

        It is the oldest one of `user`; if None, of the user with the most kept bytes. An
        authenticated user's gives way only if `authenticated`.
        """

    @abstractmethod
    async def discard(self, upload: str) -> KeptUpload | None:
        """Drop the entry of a kept upload; returns it, None if it is not kept."""

    @abstractmethod
    async def kept_bytes(self, *, authenticated: bool) -> int:
        """Bytes of all kept uploads; without those of authenticated users unless `authenticated`.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    async def kept_from(self, upload: str, count: int) -> Sequence[KeptUpload]:
        """At most `count` kept uploads, in the order of their names, from `upload` on.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    def interrupted(self) -> Mapping[str, int | None]:
        """The resumable uploads of an earlier process, and how many bytes of each are certain.

        If its machine has not restarted since, that is what was kept, and None for one that was
        running: all that stands in its file. Blocks.
        """

    @abstractmethod
    async def check(self) -> None:
        """Raise LedgerError if nothing can be reserved now; changes nothing. May be cancelled."""

    @abstractmethod
    async def total(self) -> Holding:
        """What all users hold together. May be cancelled while the disk hangs."""

    @abstractmethod
    def holdings(self) -> dict[str, Holding]:
        """What each user holds, sorted by user; users who hold nothing are left out. Blocks."""

    @abstractmethod
    async def holdings_from(self, user: str, count: int) -> dict[str, Holding]:
        """`holdings` of at most `count` users, the first of which is `user` or sorts after it.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    def promised(self) -> Collection[str]:
        """The identities of files that were perhaps published before a crash. Blocks."""

    @abstractmethod
    def reconcile(
        self,
        on_disk: Mapping[str, int] | None,
        published: Mapping[str, str],
        step: Step = ignore_step,
        recovery: Recovery = Recovery(),
        modified: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Make the ledger agree with the store. Blocks; called only before any upload runs.

        `on_disk` maps each finished file to its size; None: those of the ledger are right, and
        files whose removal was promised may be there or not. `published` maps those of the
        identities of `promised` that were found to the names of the files, which without `on_disk`
        have the right size. A file that is not in the ledger gets the owner UNKNOWN_USER. If the
        file of a reservation was found, it was published before the crash, and the reservation is
        committed. Resumable ones with an offset in `recovery` become kept uploads, or stay kept
        until their time is over. All others are dropped; what `objects` has of them stays. Every
        receipt that is owed becomes due, and its attempts count from zero again. `modified` has the
        time of the last modification of the files in `undated`, in seconds since the epoch; they
        count as stored then.
        """

    @abstractmethod
    def home(self) -> str | None:
        """Where the files of this ledger are, as `Store.home`; None if it is not known. Blocks."""

    @abstractmethod
    def set_home(self, home: str) -> None:
        """Record where the files are. Blocks."""

    @abstractmethod
    def close(self) -> None:
        """Close the ledger. Blocks, for a bounded time."""
