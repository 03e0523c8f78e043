"""The contract of a ledger: the owners of files, and what running uploads have reserved.

The store is authoritative. At startup `reconcile` makes the ledger agree with it: files may have
been removed, added or changed by hand, and uploads may have been interrupted by a crash.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Final

from attrs import frozen

from galileod.policy.quota import Holding

from .outbox import Outbox

UNKNOWN_USER: Final = ""
"""The owner of a file that was not stored by an upload."""

Clock = Callable[[], float]
"""Returns the time in seconds since the epoch; called from any thread."""

Allow = Callable[[Holding, Holding], None]
"""Gets what all users hold and what the upload's user holds; raises to refuse a reservation."""

Step = Callable[[], None]
"""Called many times in a second while a method works on the whole ledger, from its thread. What it
raises ends the method."""


def ignore_step() -> None:
    """For callers that do not report progress."""


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says why."""


class AlreadyUsedError(Exception):
    """A single-use ticket was used before, or has expired."""


@frozen
class SingleUse:
    """A ticket that is valid for one upload: its id, and its expiry in seconds since the epoch."""

    id: str
    until: float


class Ledger(ABC):
    """The ledger of one store. All methods raise LedgerError."""

    outbox: Outbox

    @abstractmethod
    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None = None,
    ) -> None:
        """Reserve `size` bytes and one file for an upload.

        `allow` is called while no other reservation can be made. If it raises, nothing is reserved
        and the exception is passed on. `ticket` is marked as used in the same transaction. Raises
        AlreadyUsedError if the ticket is used already, or has expired.
        """

    @abstractmethod
    async def promise(self, upload: str, identity: str, receipt: str) -> None:
        """Record that `receipt` is owed to the hook once the upload's file is published.

        `identity` is `Sink.identity` of the file. When this returns, the record is durable.
        """

    @abstractmethod
    async def commit(self, upload: str, name: str) -> None:
        """Replace a reservation with the stored file `name`, and make its receipt due.

        The entry of a file with the same name is replaced. Raises LedgerError if there is no such
        reservation.
        """

    @abstractmethod
    async def release(self, upload: str) -> None:
        """Drop a reservation. Does nothing if it was committed, or never made."""

    @abstractmethod
    async def check(self) -> None:
        """Raise LedgerError if nothing can be reserved now. May be cancelled while the disk hangs.

        Changes nothing.
        """

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
        self, on_disk: Mapping[str, int], published: Mapping[str, str], step: Step = ignore_step
    ) -> None:
        """Make the ledger agree with the store. Blocks; called only before any upload runs.

        `on_disk` maps each finished file to its size, and `published` those of the identities of
        `promised` that were found to the names of the files. A file that is not in the ledger gets
        the owner UNKNOWN_USER. If the file of a reservation was found, it was published before the
        crash, and the reservation is committed. All others are dropped. Every receipt that is owed
        becomes due, and its attempts count from zero again.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the ledger. Blocks, for a bounded time."""
