"""The contract of a ledger: who holds which files, and what running uploads have reserved.

The store is the truth. `reconcile` makes the ledger agree with it at the start: with files that
were removed, added or changed by hand, and with uploads that a crash interrupted.
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
"""The time in seconds of the epoch; called from any thread."""

Allow = Callable[[Holding, Holding], None]
"""Decides on a reservation by what all users hold and what its user holds; raises to refuse it."""

Find = Callable[[Collection[str]], Mapping[str, str]]
"""Maps identities of published files (`storage.base.Sink.identity`) to their names now."""


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says why."""


class AlreadyUsedError(Exception):
    """A single-use ticket was used before, or has expired by now."""


@frozen
class SingleUse:
    """A ticket that is valid for one upload: its id, and its expiry in seconds of the epoch."""

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

        `allow` is called while no other reservation can be made; what it raises is raised here,
        and nothing is reserved then. `ticket` becomes used together with the reservation. Raises
        AlreadyUsedError if it is used already, or has expired.
        """

    @abstractmethod
    async def promise(self, upload: str, identity: str, receipt: str) -> None:
        """Record that `receipt` is owed to the hook once the upload's file is published.

        `identity` is the file's. When this returns, the record survives a power cut.
        """

    @abstractmethod
    async def commit(self, upload: str, name: str) -> None:
        """Turn a reservation into the stored file `name`; its promised receipt is owed from now on.

        A file that was stored under the name before is replaced.
        """

    @abstractmethod
    async def release(self, upload: str) -> None:
        """Drop a reservation. One that was committed, or never made, is no error."""

    @abstractmethod
    async def total(self) -> Holding:
        """What all users hold together. May be cancelled while the disk hangs."""

    @abstractmethod
    def holdings(self) -> dict[str, Holding]:
        """What each user holds, by user, sorted; without users who hold nothing. Blocks."""

    @abstractmethod
    def reconcile(self, on_disk: Mapping[str, int], find: Find) -> None:
        """Make the ledger agree with the store. Blocks; for the start, before any upload runs.

        `on_disk` maps each finished file to its size. A file that is not in the ledger gets the
        owner UNKNOWN_USER. A reservation whose file was published and not committed, as `find`
        tells, is committed; all others are dropped. Every receipt that is owed is due, from its
        first attempt on.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the ledger holds open. Blocks, for a bounded time."""
