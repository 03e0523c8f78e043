"""The files of one connection that are finished and not answered: stored in batches."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from galileod.net.websocket import TransportClosed
from galileod.protocol.errors import Fault
from galileod.protocol.messages import Limits

from .claims import wait_for
from .connection import Connection
from .ending import Failure, log_fault, log_stopped
from .joint import MOST_TOGETHER
from .whole import WholeUpload, admit_whole, step_of, store_whole, wait_elsewhere

BATCHES: Final = 2
"""Maximum batches of one connection that are stored or answered at the same time: while one waits
for the disk, the other is written. Files that come meanwhile make the next batch larger. So if the
client does not read answers, nothing more is stored."""


class Batches:
    """Stores whole files, and answers them; counts what the client may still send.

    `fail` is called with a Failure if the client cannot be answered any more. At the end of
    `nursery`, all files that were added are answered.
    """

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        nursery: trio.Nursery,
        fail: Callable[[Failure], None],
    ) -> None:
        self.open = 0
        """Files that are finished and not answered."""
        self._connection = connection
        self._limits = limits
        self._nursery = nursery
        self._fail = fail
        self._under_way = 0  # bytes of whole files that are not answered
        self._dropped = 0  # bytes that may still come for a file that was refused
        self._waiting: list[WholeUpload] = []  # at most `limits.next`
        self._running = 0  # batches
        self._storing = 0  # files that count for quota.user_uploads
        self._answered = trio.Event()

    def begin(self) -> None:
        """Metadata came: from now on, nothing comes for the file before."""
        self._dropped = 0
        self._connection.forget_rest()
        self._connection.transport.budget.promise(0, 0)  # which that file may have left
        self._permit()

    def drop(self) -> None:
        """The file that was begun is refused: its data may still come, and does not count."""
        self._dropped = self._limits.whole
        self._permit()

    def came(self, length: int) -> None:
        """Data of a whole file came; negative: it was dropped."""
        self._under_way += length
        self._permit()

    def _permit(self) -> None:
        """Set what the client may send."""
        room = self._limits.room - self._under_way + self._dropped
        self._connection.transport.budget.permit(room, self._limits.whole)

    def add(self, whole: WholeUpload) -> None:
        """A file is complete. It is stored with the next batch."""
        self._count(1)
        if whole.older or whole.upload.config.hooks.admit:
            # It holds up no batch: that of an older one may be next, and others are asked about.
            self._nursery.start_soon(self._add_later, whole)
            return
        self._waiting.append(whole)
        if len(self._waiting) >= MOST_TOGETHER:
            self.store()

    def store(self) -> None:
        """Begin to store what was added, unless enough batches are being stored."""
        free = self._most_at_once - self._storing
        while self._waiting and self._running < BATCHES and free > 0:
            count = int(min(MOST_TOGETHER, free))
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            free -= len(batch)
            self._begin(batch)

    async def _add_later(self, whole: WholeUpload) -> None:
        try:
            with step_of([whole]):
                if whole.older:
                    seconds = whole.upload.config.timeouts.idle
                    await wait_for(whole.older, whole.claim, seconds)
                await admit_whole(self._connection.context, whole)
        finally:
            self._waiting.append(whole)  # also if that failed: it is answered then
            self.store()

    def _begin(self, batch: list[WholeUpload]) -> None:
        self._running += 1
        self._storing += len(batch)
        self._nursery.start_soon(self._store, batch)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Count one file that is not sent whole, until it is answered.

        Waits while the connection's own files fill `quota.user_uploads`.
        """
        self._count(1)
        try:
            while self._storing >= self._most_at_once:
                self._answered = trio.Event()
                await self._answered.wait()
            self._storing += 1
            try:
                yield
            finally:
                self._storing -= 1
        finally:
            self._count(-1)
            self._go_on()

    async def _store(self, batch: list[WholeUpload]) -> None:
        try:
            ended = await self._store_all(batch)
            self._go_on()
            answers = [self._answer(whole) for whole in ended]
            # A client that does not read these is treated as silent.
            timeout = self._connection.config.timeouts.idle
            if answers:
                await self._connection.transport.send(*answers, timeout=timeout)
        except TransportClosed as closed:
            self._fail(Failure(batch[0].receiver, closed))
        finally:
            self._running -= 1
            self._go_on()

    async def _store_all(self, batch: list[WholeUpload]) -> list[WholeUpload]:
        """Store a batch; returns those that are to be answered. Others are stored later."""
        ended = batch
        try:
            await store_whole(self._connection.context, batch)
            ended = [whole for whole in batch if not whole.elsewhere]
            for whole in batch:
                if whole.elsewhere:
                    self._nursery.start_soon(self._add_again, whole)
        except trio.Cancelled:
            self._log_stopped(batch)
            raise
        finally:
            self._storing -= len(batch)
            self._leave(ended)
        return ended

    async def _add_again(self, whole: WholeUpload) -> None:
        """Add a file once the node that has begun to store it has ended that."""
        try:
            await wait_elsewhere(self._connection.context, whole)
        except trio.Cancelled:
            self._log_stopped([whole])
            self._leave([whole])
            raise
        self._waiting.append(whole)
        self.store()

    def _leave(self, ended: list[WholeUpload]) -> None:
        # Before the answers are sent: once the client has read them, it may send more.
        self._count(-len(ended))
        self.came(-sum(whole.upload.metadata.size for whole in ended))
        for whole in ended:
            whole.claim.verdict = whole.error if isinstance(whole.error, Fault) else None
            self._connection.context.claims.leave(whole.claim)

    def _log_stopped(self, batch: list[WholeUpload]) -> None:
        for whole in batch:
            if whole.stored is None:
                log_stopped(self._connection, whole.receiver, whole.claim, whole.upload.log)

    def _answer(self, whole: WholeUpload) -> str:
        """The signal about a file that is stored, or failed, which is logged."""
        if whole.stored is not None:
            return whole.receiver.close(whole.stored.name)
        error = whole.error or RuntimeError("the file was neither stored nor refused")
        log = whole.upload.log
        fault = log_fault(error, self._connection, whole.receiver, whole.claim, log)
        return whole.receiver.fail(fault, continues=True)

    def _count(self, more: int) -> None:
        self.open += more
        self._connection.transport.owe(more)

    def _go_on(self) -> None:
        self._answered.set()
        self.store()

    @property
    def _most_at_once(self) -> float:
        most = self._connection.context.config.quota.user_uploads
        return math.inf if most is None else max(1, most)
