"""Files that are complete when their storing begins: hashed in a thread, and stored together."""

import hashlib
from collections.abc import Sequence

import trio
from attrs import frozen

from galileod.ledger.objects import Claim, NameTakenError
from galileod.storage.base import RUNNING_HASH, Stored
from galileod.storage.errors import StorageError
from galileod.storage.whole import WholeFile, Written

from .publish import Target, bounded, conflict, put
from .removal import remove
from .shared import Shared, ledger_steps


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
    return await trio.to_thread.run_sync(
        lambda: [_write_one(shared, file) for file in files], limiter=shared.threads.hashers
    )


async def publish(
    shared: Shared, written: Sequence[WholeObject]
) -> Sequence[Stored | StorageError]:
    """See `Store.publish_whole`."""
    claims = [Claim(one.file.upload, one.size, one.file.path, one.file.on_conflict) for one in written]
    results: list[Stored | StorageError] = []
    with bounded(), ledger_steps():
        names = await shared.objects.claim_whole(claims)

    async def publish_one(index: int, one: WholeObject, name: str) -> None:
        ...


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
