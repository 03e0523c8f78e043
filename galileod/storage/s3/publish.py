"""Publishing a file: its name, the request that makes it visible, and the look at what is there."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from attrs import frozen

from galileod.ledger.objects import NameTakenError
from galileod.policy.publication import OnConflict
from galileod.storage.errors import ConflictError, StorageError

from .client import UPLOAD
from .errors import KeyTakenError, NoSuchUploadError, UncertainError
from .parts import Parts
from .shared import Shared, is_of, ledger_steps

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
        with ledger_steps():
            name = await shared.objects.claim(target.upload, target.path, target.on_conflict, taken)
    except NameTakenError as error:
        raise conflict(target.path) from error
    shared.check_name(name)
    return name


async def claim_free(shared: Shared, target: Target) -> str:
    """Claim a name that no object has, not even one that the ledger does not know.

    Raises ConflictError and StorageError.
    """
    taken = list[str]()
    while len(taken) < MOST_UNKNOWN:
        name = await claim(shared, target, taken)
        if target.replaces or await shared.head(name) is None:
            return name
        if target.on_conflict == "reject":
            break
        taken.append(name)
    raise conflict(target.path)


async def complete(shared: Shared, upload: str, parts: Parts) -> None:
    """Make the object of the parts of an upload, and look whether it is there.

    Raises NoSuchUploadError if it is not, and the parts are gone; and StorageError.
    """
    tags = [(part.number, part.etag) for part in parts.entered]
    call = partial(shared.client.complete, shared.key(parts.name), parts.multipart, tags)
    gone = False
    uncertain: StorageError | None = None
    with ledger_steps():
        await shared.objects.completing(upload)
    try:
        await shared.publish(upload, call, shared.threads.completers)
    except NoSuchUploadError as error:  # an earlier request may have made it
        gone, uncertain = True, error
    except UncertainError as error:  # so may this one
        gone, uncertain = await _are_gone(shared, parts), error
    # What is gone before this look has either become the object, or is lost.
    if is_of(await shared.head(parts.name), upload, parts.end):
        return
    if gone:
        raise NoSuchUploadError(str(uncertain)) from uncertain
    raise uncertain or StorageError("the object is not there although it was completed")


async def _are_gone(shared: Shared, parts: Parts) -> bool:
    """Whether the store has no such multipart upload any more."""
    key = shared.key(parts.name)
    try:
        ask = partial(shared.client.is_unfinished, key, parts.multipart)
        return not await shared.request(ask)
    except StorageError:
        return False  # then they are kept, as before


async def put(
    shared: Shared, target: Target, name: str, content: bytes | bytearray | memoryview, sha1: str
) -> str:
    """Store a file in one request, with a name that is claimed; returns the one that it got.

    The ledger must know that it is being completed. Raises ConflictError and StorageError.
    """
    taken = list[str]()
    metadata = target.metadata(sha1)
    while len(taken) < MOST_UNKNOWN:
        call = partial(
            shared.client.put, shared.key(name), content, metadata, new=not target.replaces
        )
        try:
            await shared.publish(target.upload, call)
        except UncertainError:
            if not is_of(await shared.head(name), target.upload, len(content)):
                raise
        except KeyTakenError:
            if target.on_conflict == "reject":
                break
            taken.append(name)
            name = await claim(shared, target, taken)
            with ledger_steps():
                await shared.objects.completing(target.upload)
            continue
        return name
    raise conflict(target.path)


def conflict(path: str) -> ConflictError:
    """The error if the name is taken."""
    return ConflictError(f"a file named {path} exists already")
