"""The contract of a node: this process among those that share a ledger."""

from abc import ABC, abstractmethod

from .lease import Lease


class Node(ABC):
    """A node of this `name`. All methods raise LedgerError.

    What it writes has its fencing number, which grows with each start and with each loss of the
    `lease`. The ledger accepts nothing with an earlier one.
    """

    name: str
    lease: Lease

    @abstractmethod
    async def renew(self) -> bool:
        """Renew the lease; False if it is lost, which the lease does not know then."""

    @abstractmethod
    async def begin_again(self) -> None:
        """Get another lease after it was lost, with a new fencing number.

        To be called once nobody is using the lost one.
        """
