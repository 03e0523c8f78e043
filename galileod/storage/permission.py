"""Whether a store may change what it has begun: with several nodes, only while its lease lasts."""

from typing import Literal, Protocol


class Permission(Protocol):
    """The lease of this node, of which a store only needs to know whether it may write."""

    def is_valid(self) -> bool:
        """Whether this node may write now. For any thread."""

    def state(self) -> Literal["valid", "run out", "lost"]:
        """If it is lost, other nodes have taken over what was begun here. For any thread."""

    async def wait_valid(self) -> None:
        """Return as soon as this node may write; raises an error of the ledger if it never may."""
