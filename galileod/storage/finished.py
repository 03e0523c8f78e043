"""What a store tells: of finished files, of interrupted uploads, and of its space."""

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

from attrs import frozen

Progress = Callable[[int], None]
"""Called after each file that was found, with their number. What it raises ends the scan."""


def ignore_progress(_files: int) -> None:
    """For callers that do not report progress."""


@frozen
class Standing:
    """A finished file as it is now: `size` in bytes, `modified_ns` in nanoseconds since 1970.

    `upload` is the id of the upload that has stored it; None: the store does not know.
    `identities` are all that `Sink.identity` may have been.
    """

    size: int
    modified_ns: int
    upload: str | None = None
    identities: tuple[str, ...] = ()


@frozen
class Removed:
    """A file of that `name` is not stored any more; `found` tells whether it was until now."""

    name: str
    found: bool


@frozen
class Found:
    """The finished files of a store.

    `sizes` has the size of each in bytes, by its name; None: the store does not list its files at
    the start, and the ledger is right. `names` has the name of each file that was
    asked for by its identity, and `modified` the last modification of each that was asked for by
    its name, in seconds since the epoch.
    """

    sizes: Mapping[str, int] | None
    names: Mapping[str, str]
    modified: Mapping[str, float] = MappingProxyType({})


@frozen
class Recovered:
    """What a crash or a restart has left of an upload: the first `offset` bytes of its file.

    If the file was published before the crash, `identity` is what `Store.scan` finds it by, and it
    must never be written to again; else None.
    """

    offset: int
    identity: str | None = None


@frozen
class Space:
    """The `free` bytes of a filesystem (or of another limit that files share)."""

    filesystem: Hashable
    free: int
