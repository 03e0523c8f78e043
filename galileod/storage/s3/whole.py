"""Files that are complete when their storing begins: hashed in a thread, and stored together."""

import hashlib
from collections.abc import Sequence
from typing import Final

import trio
from attrs import frozen

from galileod.ledger.objects import Claim, NameTakenError
from galileod.storage.base import RUNNING_HASH, Stored
from galileod.storage.errors import StorageError
from galileod.storage.whole import WholeFile, Written

from .claims import Target, begin_publishing, refusal
from .publish import put
from .removal import remove
from .shared import Shared, ledger_steps

AT_ONCE: Final = 16
"""Maximum files of a batch that are sent at the same time."""


@frozen(eq=False)
class WholeObject(Written):
    """A file that is hashed, and in memory until it is published."""

    file: WholeFile

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(map(len, self.file.pieces))

    @property
    def target(self) -> Target:
        """What it is to become."""
        file = self.file
        return Target(file.upload, file.path, file.on_conflict, file.modified)


async def write(shared: Shared, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
    """See `Store.write_whole`."""
    return await shared.compute(lambda: [_write_one(shared, file) for file in files])


async def publish(shared: Shared, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
    """See `Store.publish_whole`."""
    files = [one for one in written if isinstance(one, WholeObject)]
    if len(files) < len(written):
        raise TypeError("a file was written by another store")
    claims = [
        Claim(one.target.upload, one.size, one.target.path, one.target.on_conflict) for one in files
    ]
    results: dict[WholeObject, Stored | StorageError] = {}
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def publish_in_order(ones: Sequence[WholeObject], name: str) -> None:
        async with at_once:
            for one in ones:
                results[one] = await _publish_one(shared, one, name, first=one is ones[0])

    with trio.CancelScope(shield=True):  # what was published must be reported
        with ledger_steps():
            names = await shared.objects.claim_whole(claims)
        of_name: dict[str, list[WholeObject]] = {}  # several if they replace one another
        for one, name in zip(files, names, strict=True):
            if isinstance(name, NameTakenError):
                results[one] = refusal(name)
            else:
                of_name.setdefault(name, []).append(one)
        async with trio.open_nursery() as nursery:
            for name, ones in of_name.items():
                nursery.start_soon(publish_in_order, ones, name)
    return [results[one] for one in files]


async def _publish_one(
    shared: Shared, one: WholeObject, name: str, *, first: bool
) -> Stored | StorageError:
    content = b"".join(one.file.pieces)
    results = list[Stored | StorageError]()
    with shared.publishing.bounded(shared.lease.lost):
        try:
            if not first:  # the one before may be in doubt by now
                await begin_publishing(shared, one.target.upload)
            name = await put(shared, one.target, name, content, one.digests[RUNNING_HASH])
            results.append(Stored(name, shared.path(name), one.identity))
        except StorageError as error:
            results.append(error)
    result = results[0] if results else shared.not_published()
    if isinstance(result, StorageError):
        await remove(shared, one.target.upload)
    return result


def _write_one(shared: Shared, file: WholeFile) -> Written | StorageError:
    try:
        shared.check_name(file.path)
    except StorageError as error:
        return error
    hashes = {
        kind: hashlib.new(kind, usedforsecurity=False) for kind in {RUNNING_HASH, *file.kinds}
    }
    for running in hashes.values():
        for piece in file.pieces:
            running.update(piece)
    digests = {kind: running.hexdigest() for kind, running in hashes.items()}
    replaces = file.on_conflict == "replace"
    return WholeObject(digests, file.upload, replaces, file, promised=True)
