"""The names of files: claimed in the ledger, and compared with what the bucket has."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from attrs import frozen

from galileod.ledger.objects import NameTakenError, UnsettledError
from galileod.policy.publication import OnConflict
from galileod.storage.errors import ConflictError, StorageBusyError, StorageError

from .client import UPLOAD, Head
from .shared import Shared

MOST_UNKNOWN: Final = 1000
"""Maximum names that are tried because objects have them that the ledger does not know."""

NAME: Final = "galileod-name"
MODIFIED: Final = "galileod-modified"
SHA1: Final = "galileod-sha1"
"""The keys of metadata: the name that was asked for, its last modification in milliseconds since
1970, and the hash, which for a multipart upload is not known when it begins."""

_NS: Final = 1_000_000


@frozen
class Target:
    """What a file is to become: `path` is the name that was asked for. `modified` is as in Sink."""

    upload: str
    path: str
    on_conflict: OnConflict
    modified: int | None = None

    @property
    def replaces(self) -> bool:
        """Whether it replaces a file of the same name."""
        return self.on_conflict == "replace"

    def metadata(self, sha1: str | None = None) -> Mapping[str, str]:
        """The metadata of its object."""
        metadata = {UPLOAD: self.upload, NAME: self.path.rpartition("/")[2]}
        if self.modified is not None:
            metadata[MODIFIED] = str(self.modified // _NS)
        if sha1 is not None:
            metadata[SHA1] = sha1
        return metadata


async def claim(shared: Shared, target: Target, taken: Sequence[str] = ()) -> str:
    """Claim the name of a file in the ledger; `taken` are those of objects it does not know.

    Raises ConflictError and StorageError.
    """
    try:
        name = await shared.record(
            partial(
                shared.objects.claim, target.upload, target.path, target.on_conflict, tuple(taken)
            )
        )
    except NameTakenError as error:
        raise refusal(error) from error
    shared.check_name(name)
    return name


async def claim_free(shared: Shared, target: Target) -> str:
    """Claim a name that no object has, not even one that the ledger does not know.

    Raises ConflictError and StorageError.
    """
    taken = list[str]()
    while len(taken) < MOST_UNKNOWN:
        name = await claim(shared, target, taken)
        if target.replaces or not await has_name(shared, await shared.head(name)):
            return name
        if target.on_conflict == "reject":
            break
        taken.append(name)
    raise conflict(target.path)


async def has_name(shared: Shared, head: Head | None) -> bool:
    """Whether an object keeps its name from others.

    That of an abandoned upload does not: nobody was told of it, and it may be replaced.
    """
    if head is None or UPLOAD not in head.metadata:
        return head is not None
    known = await shared.record(partial(shared.objects.get, head.metadata[UPLOAD]))
    return known is None or not known.abandoned


async def begin_publishing(shared: Shared, upload: str) -> None:
    """Enter that a file is about to be published.

    Raises StorageBusyError if an earlier one may take its name yet; and StorageError.
    """
    try:
        await shared.record(partial(shared.objects.completing, upload))
    except NameTakenError as error:
        raise refusal(error) from error


def refusal(error: NameTakenError) -> StorageError:
    """The error if the ledger does not give a name."""
    kind = StorageBusyError if isinstance(error, UnsettledError) else ConflictError
    return kind(str(error))


def conflict(path: str) -> ConflictError:
    """The error if an object has the name."""
    return ConflictError(f"a file named {path} exists already")
