"""Publishing a file: the request that makes it visible, and the look at what is there."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define

from galileod.storage.errors import StorageError, UnavailableError

from .claims import MOST_UNKNOWN, Target, begin_publishing, claim, conflict, has_name
from .client import is_of
from .doubts import LATE_SECONDS
from .errors import KeyTakenError, NoSuchUploadError, UncertainError
from .parts import Parts
from .patience import Patience
from .shared import Shared


async def complete(shared: Shared, upload: str, parts: Parts) -> None:
    """Make the object of the parts of an upload, and look whether it is there.

    Raises NoSuchUploadError if it is not, and the parts are gone; and StorageError.
    """
    tags = [(part.number, part.etag) for part in parts.entered]
    call = partial(shared.client.complete, shared.key(parts.name), parts.multipart, tags)
    patience = Patience()
    await begin_publishing(shared, upload)
    async with _in_doubt(shared, upload, 0) as doubt:
        while True:
            gone = False
            failure = StorageError("the object is not there although it was completed")
            try:
                await doubt.send(call, shared.threads.completers)
            except NoSuchUploadError as error:  # an earlier request may have made it
                gone, failure = True, error
            except UncertainError as error:  # so may this one
                gone, failure = await _are_gone(shared, parts), error
            except UnavailableError:
                if not await patience.wait():
                    raise
                continue
            # What is gone before this look has either become the object, or is lost.
            if is_of(await patience.head(shared, parts.name), upload, parts.end):
                return
            if gone:
                doubt.open = False
                raise NoSuchUploadError(str(failure)) from failure
            if not (patience.again() and await patience.wait()):
                raise failure


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
    upload, client, metadata = target.upload, shared.client, target.metadata(sha1)
    patience, new = Patience(), not target.replaces
    async with _in_doubt(shared, upload, LATE_SECONDS) as doubt:
        while len(taken) < MOST_UNKNOWN:
            doubt.overwrites = not new or not client.conditional
            try:
                await doubt.send(partial(client.put, shared.key(name), content, metadata, new=new))
            except KeyTakenError:
                doubt.open = False
                head = await shared.head(name)
                if head is not None and not await has_name(shared, head):
                    new = False  # while others may not claim the name
                    continue
                if target.on_conflict == "reject":
                    break
                taken.append(name)
                name = await claim(shared, target, taken)
                await begin_publishing(shared, upload)
                continue
            except UncertainError:
                if is_of(await patience.head(shared, name), upload, len(content)):
                    return name
                if not (patience.again() and await patience.wait()):
                    raise
                continue
            except UnavailableError:
                if not await patience.wait():
                    raise
                continue
            return name
    raise conflict(target.path)


@define
class _Doubt:
    """A publication. `open`: a request was begun, and it is not known what has become of it.

    `overwrites`: its requests replace whatever has the name.
    """

    shared: Shared
    upload: str
    open: bool = False
    overwrites: bool = False

    async def send(
        self, call: Callable[[], object], limiter: trio.CapacityLimiter | None = None
    ) -> None:
        """Make a request. `open` stays as it was if that is refused."""
        before = self.open

        def run() -> object:
            self.open = True
            return call()

        try:
            await self.shared.publish(self.upload, run, limiter)
        except (UncertainError, NoSuchUploadError):
            raise
        except StorageError:
            self.open = before
            raise


@asynccontextmanager
async def _in_doubt(shared: Shared, upload: str, seconds: float) -> AsyncIterator[_Doubt]:
    """A block that publishes a file; if it fails and is `open`, the upload is in doubt.

    That can be settled after so many seconds.
    """
    doubt = _Doubt(shared, upload)
    try:
        yield doubt
        shared.doubts.overwriting.discard(upload)
    except BaseException:
        if doubt.open or upload in shared.late:
            due = time.time() + seconds
            await shared.doubts.enter(shared.objects, upload, due, overwrites=doubt.overwrites)
        raise
