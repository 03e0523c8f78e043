"""The contract of a node: this process among those that share a ledger."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from .base import Recovery
from .contents import RunningNode
from .lease import Lease

CLOCKS_APART: Final = 5.0
"""Seconds by which the clock of a node and that of the database may differ, and nobody is told."""


@frozen
class Me:
    """What the others see of this node. `identity` is that of its state directory.

    `local`: its files are in a directory, so that a machine which fails may lose what is not
    durable. `host` is the name of its machine.
    """

    name: str
    identity: str
    version: str
    local: bool
    host: str = field(factory=socket.gethostname)


class Node(ABC):
    """A node of this `name`. All methods raise LedgerError.

    What it writes has its fencing number, which grows with each start and with each loss of the
    `lease`. The ledger accepts nothing with an earlier one. `taken_on` is the machine of a later
    process with this name and identity, which had the lease when it was to be renewed: the state
    directory of one is a copy of the other's.

    `ahead` are the seconds by which its clock was ahead of the ledger's when the two were compared
    last: with each lease, and with each renewal. It is negative if the clock is behind.
    """

    name: str
    lease: Lease
    ahead: float = 0.0
    taken_on: str | None = None

    @abstractmethod
    async def renew(self) -> bool:
        """Renew the lease; False if it is lost, which the lease does not know then."""

    @abstractmethod
    async def begin_again(self) -> None:
        """Get another lease after it was lost, with a new fencing number.

        To be called once nobody is using the lost one. Fails while a process runs that has it
        since, with this name and identity.
        """

    @abstractmethod
    async def adopt(self) -> Collection[str]:
        """Take over the running uploads of nodes whose leases are over.

        From then on, they are like those of an earlier process of this node, and so are those that
        this node had when it lost its lease: `Ledger.interrupted`, `Ledger.promised` and
        `Objects.all` have them. Returns the names of the nodes of which some are left, with that of
        this one for those that it had, or has taken over before. `settle` ends them.
        """

    @abstractmethod
    async def declare(self, settings: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        """Tell the others the `settings` of this node; returns those of each that runs."""

    @abstractmethod
    def running_beside(self) -> Sequence[RunningNode]:
        """The other nodes whose leases are not over. Blocks."""

    @abstractmethod
    def left(self) -> Collection[str]:
        """The uploads that are left, and are not kept: no other node can continue them. Blocks."""

    @abstractmethod
    def others(self) -> Collection[str]:
        """The uploads that are not left: others run or have kept them, or this process. Blocks."""

    @abstractmethod
    def settle(self, published: Mapping[str, str], recovery: Recovery) -> None:
        """Do with them what `Ledger.reconcile` does at a start. Blocks."""
