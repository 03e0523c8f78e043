"""The further files of a connection, behind the first one, as they are received.

Files that are sent whole are stored in batches. Each other one has a task, and the next file is
received when its `finished` has come.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import Grant
from galileod.ledger.base import StoredUpload
from galileod.net.messages import BinaryMessage, MessagePart
from galileod.net.watch import MessageIncomplete
from galileod.policy.rate import RateMeter
from galileod.protocol.encoding import encode_last
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Abandon, Ask, Finished, Limits, Metadata
from galileod.protocol.receiver import UploadReceiver

from .batches import Batches
from .claims import Claim, make_claim
from .connection import Connection, Incoming
from .ending import Failure, log_failed, log_stopped, refuse
from .faults import abandoned, interruptible, shutting_down, storage_faults
from .held import LONGEST, answer
from .progress import Progress, count_chunk
from .whole import Content, begin_whole

TEXTS: Final = 256
"""Maximum TEXT messages that wait to be received, two for each small file: what has come while
others are stored makes the next batch larger."""

ServeFile = Callable[
    [Connection, UploadReceiver, Metadata, Callable[[], None]], Awaitable[Failure | None]
]
"""Serves a file that is not sent whole; calls the function when its `finished` has come."""


class Further:
    """The further files of `connection`, within `limits`, behind that of `receiver`."""

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        receiver: UploadReceiver,
        serve_file: ServeFile,
    ) -> None:
        config = connection.context.config
        self._connection = connection
        self._limits = limits
        self._receiver = receiver
        self._serve_file = serve_file
        self._timeouts = config.timeouts
        self._rate = RateMeter(config.limits.min_rate, config.timeouts.idle)
        self._judged: tuple[str | None, Grant] | None = None
        self._said_last = False
        self._since = 0.0  # when a file was begun or answered, or the client was told that it ends
        self._failure: Failure | None = None

    async def serve(self) -> Failure | None:
        """Serve files until the connection is to end; each that was finished is answered then.

        Returns how it is to end: None if the client was told that no more files are taken, and has
        sent none since.
        """
        async with trio.open_nursery() as self._nursery:
            self._connection.transport.allow_texts(TEXTS)
            self._batches = Batches(self._connection, self._limits, self._nursery, self._end)
            try:
                with trio.CancelScope() as self._reading:
                    await self._read()
            finally:
                self._batches.store()
        return self._failure

    def _end(self, failure: Failure) -> None:
        """Receive nothing more: the connection is to end."""
        self._failure = self._failure or failure
        self._reading.cancel()

    async def _read(self) -> None:
        while self._failure is None:
            receiver = self._receiver = self._receiver.next()
            try:
                metadata = await self._next_metadata()
            except Exception as error:  # noqa: BLE001  log_failed logs what is unexpected
                await self._refuse(error, self._connection.log)
                continue
            if metadata is None:
                return
            self._batches.begin()
            if receiver.whole and not metadata.abandon:
                await self._take_whole(metadata)
            elif self._connection.context.shutdown.no_new_uploads.fired:
                await self._refuse(shutting_down(), self._connection.log, continues=True)
            else:
                self._pause()
                await self._nursery.start(self._take_large, receiver, metadata)

    async def _next_metadata(self) -> Metadata | None:
        """The next metadata; None if none have come for some time after `last` was said."""
        self._since = began = trio.current_time()
        while True:
            match self._connection.receive_nowait(self._receiver) or await self._between():
                case Metadata() as metadata:
                    if self._batches.open < self._limits.next:
                        return metadata
                    raise Fault(
                        FaultCode.BAD_MESSAGE,
                        f"More than {self._limits.next} further files are open.",
                        limit=self._limits.next,
                    )
                case BinaryMessage(length=length):
                    self._receiver.receive_binary(length)  # drops it, or raises
                case Ask() as question:
                    if not await self._answer(question, until=began + LONGEST):
                        return None
                case None:
                    return None

    async def _answer(self, question: Ask, until: float) -> bool:
        """Answer a question, which keeps the connection up to the time `until`.

        Returns whether it may have more messages.
        """
        self._pause()
        shutdown = self._connection.context.shutdown
        with interruptible((shutdown.no_uploads, shutting_down)):
            await answer(self._connection, self._receiver, question, self._connection.log)
        now = trio.current_time()
        if not self._said_last and now < until:
            self._since = now
            return True
        await self._say_last()
        return now < self._since + self._timeouts.close

    async def _between(self) -> Incoming | None:
        """Wait for a message between two files; None as for `_next_metadata`."""
        self._pause()
        shutdown, timeouts = self._connection.context.shutdown, self._timeouts
        while not shutdown.no_uploads.fired:
            if shutdown.no_new_uploads.fired:
                await self._say_last()
            # Signals that mean nothing, and Pings, do not extend the time.
            limit = self._since + (timeouts.close if self._said_last else timeouts.idle)
            message = await self._receive_until(limit)
            if message is not None:
                return message
            if trio.current_time() < limit:
                continue  # the daemon stops
            self._since = trio.current_time()
            if self._batches.open:
                continue  # the client waits for the server
            if self._said_last:
                return None
            await self._say_last()
        return None

    async def _receive_until(self, limit: float) -> Incoming | None:
        """The next message; None if none has come by the time `limit`, or the daemon stops."""
        connection, received = self._connection, list[Incoming]()
        shutdown = connection.context.shutdown
        stop = shutdown.no_uploads if self._said_last else shutdown.no_new_uploads
        with stop.guard() as waiting:
            waiting.deadline = limit
            received.append(await connection.receive(self._receiver, math.inf))
        if received or trio.current_time() < limit:
            return received[0] if received else None
        try:
            # This process may have been busy: what is in the socket counts.
            return await connection.receive(self._receiver, 0, 0)
        except MessageIncomplete:
            return None
        except Fault as fault:
            if fault.code is not FaultCode.IDLE:
                raise
            return None

    async def _say_last(self) -> None:
        if not self._said_last:
            self._said_last, self._since = True, trio.current_time()
            await self._connection.transport.send(encode_last(), timeout=self._timeouts.close)

    async def _take_whole(self, metadata: Metadata) -> None:
        """Receive a file that is sent whole, and give it to the batches."""
        connection, receiver = self._connection, self._receiver
        upload = connection.context.new_id()
        log = connection.log.bind(upload=upload, name=metadata.name, size=metadata.size)
        try:
            content = await self._take_content()
            grant = await self._judge(metadata, log)
            whole = begin_whole(connection, receiver, metadata, upload, grant, content, log)
        except trio.Cancelled:
            if self._failure is None:
                log_stopped(connection, receiver, Claim(), log)
            raise
        except Exception as error:  # noqa: BLE001  log_failed logs what is unexpected
            self._batches.came(-receiver.received)
            await self._refuse(error, log)
        else:
            self._batches.add(whole)

    async def _take_large(
        self,
        receiver: UploadReceiver,
        metadata: Metadata,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve a file that is not sent whole; started when its `finished` has come."""
        started = False

        def start() -> None:
            nonlocal started
            started = True
            task_status.started()

        async with self._batches.one():
            failure = await self._serve_file(self._connection, receiver, metadata, start)
        if failure is not None:
            self._end(failure)
        if not started:
            task_status.started()

    async def _judge(self, metadata: Metadata, log: FilteringBoundLogger) -> Grant:
        """What the credential allows: judged once for the files that have come together."""
        if self._judged is None or self._judged[0] != metadata.token:
            grant = await self._connection.authorize(metadata, self._receiver, log)
            if grant.expired:
                await self._require_stored(metadata, grant, log)
                return grant  # for this file only
            self._judged = metadata.token, grant
        return self._judged[1]

    async def _require_stored(
        self, metadata: Metadata, grant: Grant, log: FilteringBoundLogger
    ) -> None:
        """Refuse a file whose ticket has expired, unless an earlier attempt has stored it."""
        claim = make_claim(metadata, grant.user, authenticated=not grant.anonymous)
        with storage_faults():
            keeper = self._connection.context.keeper
            earlier = await keeper.find(claim.key) if claim.key else None
        if not isinstance(earlier, StoredUpload):
            raise self._connection.refuse_expired(log)

    async def _refuse(
        self, error: Exception, log: FilteringBoundLogger, *, continues: bool = False
    ) -> None:
        """Log that a file failed, and tell the client; or that ends the connection.

        It does not if it `continues`, whatever the error.
        """
        receiver = self._receiver
        failure = log_failed(error, self._connection, receiver, Claim(), log)
        if not receiver.has_finished:
            self._batches.drop()  # before the client can know
        self._failure = self._failure or await refuse(
            failure, self._connection, continues=continues
        )

    async def _take_content(self) -> Content:
        """The data of a file that is sent whole, and the hash in its `finished`."""
        pieces, progress = list[bytes](), Progress(trio.current_time())
        while True:
            match self._connection.receive_nowait(self._receiver) or await self._within():
                case MessagePart(part):
                    pieces += part
                case BinaryMessage(part, length):
                    self._receiver.receive_binary(length)
                    pieces += part
                    self._batches.came(length)
                    count_chunk(self._connection.context.metrics, progress, length)
                case Finished(claimed):
                    return Content(pieces, claimed, progress)
                case Abandon():
                    raise abandoned()

    async def _within(self) -> Incoming:
        """Wait for a message within a file that is sent whole."""
        self._pause()
        with interruptible((self._connection.context.shutdown.no_uploads, shutting_down)):
            return await self._connection.next_message(
                self._receiver, self._timeouts.idle, self._rate
            )

    def _pause(self) -> None:
        """Nothing more has come yet."""
        self._batches.store()
        self._judged = None
