"""Files that are complete when their storing begins."""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from galileod.policy.publication import Durability, OnConflict


@frozen
class WholeFile:
    """A complete file that is in memory: its `pieces`, in order.

    `upload` and `path` are as for `Store.create`. `kinds` are the hashes that are wanted beside
    the running one, by their names of hashlib. `modified` is as for a Sink.
    """

    upload: str
    path: str
    pieces: Sequence[bytes]
    kinds: tuple[str, ...]
    on_conflict: OnConflict
    durability: Durability
    modified: int | None = None


@frozen(eq=False)
class Written:
    """A file that is complete, durable if that was asked for, and not published.

    `digests` has its hashes by kind, in lower-case hex. `identity` is as `Sink.identity`, and
    final; `replaces` and `promised` are as for a Sink.
    """

    digests: Mapping[str, str]
    identity: str
    replaces: bool
    promised: bool = field(default=False, kw_only=True)
