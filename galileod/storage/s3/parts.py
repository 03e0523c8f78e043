"""The parts of one multipart upload, several on their way at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.objects import Part, parts_end
from galileod.shutdown import Interrupt
from galileod.storage.errors import StorageBusyError, StorageError

from .buffers import Buffer
from .errors import NoSuchUploadError
from .shared import Shared

MAX_PARTS: Final = 9_000
"""Maximum parts of a file: stores have a limit of 10,000, and some count one too many."""

_log: FilteringBoundLogger = structlog.get_logger()


class Parts:
    """Sends the parts of the multipart upload `multipart`, of which the file `name` is to be made.

    Each is sent by a task of its own, which goes on if who has written it is cancelled. They are
    entered in the ledger in order, so that what it has is always without a gap; `entered` has them.
    `lost`: the object storage has no such multipart upload any more.
    """

    def __init__(
        self,
        shared: Shared,
        upload: str,
        name: str,
        multipart: str,
        entered: Sequence[Part] = (),
    ) -> None:
        self.name = name
        self.multipart = multipart
        self.entered = list(entered)
        self.running = 0
        self.lost = False
        self.failure: StorageError | None = None
        self._shared = shared
        self._upload = upload
        self._number = len(self.entered)
        self._arrived: dict[int, Part] = {}
        self._entering = trio.Lock()
        self._sealed = Interrupt()
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def end(self) -> int:
        """The number of bytes of the parts in the ledger."""
        return parts_end(self.entered)

    def send(self, buffer: Buffer, state: bytes, done: Callable[[Buffer], None]) -> None:
        """Begin to send the next part. `done` is called with its buffer once it is not used."""
        self._number += 1
        self.running += 1
        trio.lowlevel.spawn_system_task(self._send, self._number, buffer, state, done)

    async def wait_one(self) -> None:
        """Wait until a part that is on its way was sent, or has failed. Raises StorageError."""
        if self.failure is None and self.running:
            await self._changed.park()
        self.check()

    async def wait_all(self) -> None:
        """Wait until no part is on its way any more."""
        while self.running:
            await self._changed.park()

    def check(self) -> None:
        """Raise StorageError if a part could not be stored."""
        if self.failure is not None:
            raise type(self.failure)(self.failure.reason, self.failure.place) from self.failure

    async def seal(self) -> None:
        """Enter no more parts.

        While some are still on their way, the upload cannot be continued: they would replace those
        that are sent then.
        """
        self._sealed.fire()
        if self.running:
            self._shared.late.add(self._upload)
        async with self._entering:
            pass  # a step of the ledger that has begun is bounded in time

    async def _send(
        self, number: int, buffer: Buffer, state: bytes, done: Callable[[Buffer], None]
    ) -> None:
        key, content = self._shared.key(self.name), buffer.content
        send = self._shared.client.upload_part
        try:
            try:
                etag = await self._shared.request(
                    partial(send, key, self.multipart, number, content)
                )
            finally:
                length = buffer.length
                done(buffer)
            await self._enter(Part(number, length, etag, state))
        except StorageError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  a defect must not end the daemon
            _log.exception("storage.error", upload=self._upload)
            self._fail(error)
        finally:
            self.running -= 1
            if not self.running:
                self._shared.late.discard(self._upload)
            self._changed.unpark_all()

    async def _enter(self, part: Part) -> None:
        """Enter a part, and those behind it that have arrived before."""
        self._arrived[part.number] = part
        covered = None
        async with self._entering:
            while not self._sealed.fired and (following := self._following()) is not None:
                with self._sealed.guard() as waiting:
                    step = partial(self._shared.objects.add_part, self._upload, following)
                    tail = await self._shared.record(step)
                    self.entered.append(following)
                    covered = tail or covered
                if waiting.cancelled_caught:
                    raise StorageBusyError("the database does not answer")
        if covered is not None:
            await self._shared.delete(covered.key)

    def _following(self) -> Part | None:
        return self._arrived.pop(len(self.entered) + 1, None)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, NoSuchUploadError):
            self.lost = True
        if not isinstance(error, StorageError):
            error = StorageError("a part could not be stored", f": {error}")
        self.failure = self.failure or error
