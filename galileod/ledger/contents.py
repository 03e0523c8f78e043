"""What is found in a ledger that is tried, and not opened."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen


@frozen
class RunningNode:
    """A node whose lease is not over, as in `node.Me`. It runs `since` that time, in UTC."""

    name: str
    identity: str
    host: str
    since: str


@frozen
class Contents:
    """What a start would find in a ledger; nothing in one that has not been started yet.

    `home` is that of `Ledger.home`. `begun` says whether there are uploads that this node has
    begun, `files` are some of the stored ones with their sizes.
    """

    home: str | None = None
    nodes: Sequence[RunningNode] = ()
    begun: bool = False
    files: Mapping[str, int] = MappingProxyType({})
