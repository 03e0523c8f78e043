"""The contract of the outbox: receipts of stored files that are owed to the hook.

Due times are wall clock times, since monotonic ones are not valid in another process. A clock that
is set back delays no attempt by more than `policy.backoff.LONGEST`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Final, Literal, get_args

import trio
from attrs import frozen

MOST_COUNTED: Final = 100_000
"""Maximum of `count`, which reads every row at each scrape of the metrics; this many rows take some
hundredths of a second."""


Kind = Literal["stored", "removed"]
"""What has become of a file: each kind of receipt is for another hook."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@frozen
class Owed:
    """One receipt, of the file stored as `name`, after `attempts` failed attempts.

    The next attempt is due in `wait` seconds; 0 if it is due. A receipt of the kind "removed" says
    that the file was removed.
    """

    number: int
    name: str
    receipt: str
    attempts: int
    wait: float
    kind: Kind = "stored"


class Outbox(ABC):
    """The receipts that are owed, and a signal to the task that delivers them.

    The abstract methods raise LedgerError.

    `look_again`: after so many seconds there may be other receipts without `notify`, since several
    nodes share the ledger.
    """

    look_again: float = math.inf

    def __init__(self) -> None:
        self._changed = trio.Event()

    def notify(self) -> None:
        """Wake the task in `wait`: a receipt is due, or the settings have changed."""
        self._changed.set()

    async def wait(self) -> None:
        """Return once `notify` has been called since this method last returned."""
        await self._changed.wait()
        self._changed = trio.Event()

    @abstractmethod
    async def count(self, kinds: Collection[Kind] = KINDS) -> int:
        """The number of receipts, including those that were given up; at most MOST_COUNTED.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    async def first(
        self, most: int, kinds: Collection[Kind] = KINDS, hold: float = 0
    ) -> Sequence[Owed]:
        """The first `most` receipts in the order of their due times, due or not.

        If several nodes share the ledger, those that another one holds are left out. This one holds
        those that are due, for `hold` seconds from now, or until they are delivered or postponed.
        """

    @abstractmethod
    async def delivered(self, number: int) -> None:
        """Remove a receipt."""

    @abstractmethod
    async def postpone(self, number: int, seconds: float | None) -> None:
        """Count a failed attempt. The next is due in `seconds`; if None, after the next start.

        Does nothing if another node holds the receipt by now.
        """
