"""The connection of an upload: the state that exists before the metadata arrives."""

import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio
from attrs import Factory, define, field
from structlog.typing import FilteringBoundLogger

from galileod.auth.check import check_credential
from galileod.auth.grant import NOT_VALID, Grant, Unauthorized
from galileod.config.model import Config
from galileod.net.frames import TEXT_LIMIT, FrameTooLarge
from galileod.net.messages import BinaryMessage, MessagePart
from galileod.net.peer import Peer
from galileod.net.watch import MessageIncomplete, PeerSilent
from galileod.net.websocket import FrameError, WebSocketTransport
from galileod.policy.rate import RateMeter
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Abandon, Ask, Finished, Ignored, Limits, Metadata
from galileod.protocol.receiver import UploadReceiver

from .context import Context
from .faults import interruptible, shutting_down

T = TypeVar("T")

ENDS_CONNECTION: Final = frozenset(
    {
        FaultCode.BAD_MESSAGE,
        FaultCode.IDLE,
        FaultCode.TOO_SLOW,
        FaultCode.SHUTTING_DOWN,
    }
)
"""The faults after which a connection has no further file. After all others it may have."""


def may_ask(config: Config, grant: Grant) -> bool:
    """Whether `storage.ask` lets a user ask which files are stored."""
    setting = config.storage.ask
    return setting == "everybody" or (setting == "users" and not grant.anonymous)


Incoming = Metadata | Finished | Abandon | Ask | Ignored | MessagePart | BinaryMessage
"""What a client may send: a signal, or data of a chunk."""

CREDENTIAL_NEEDED: Final = "A token or a ticket is needed to upload here."


@define(eq=False)
class Connection:
    """One upgraded connection.

    `handshake_grant` is what the `credential` of the handshake allows, None if there was none.
    `config` is the configuration in force at the time `opened`. `stored` is the number of files
    stored. `over`: no further file can be received, since a frame was refused, or a credential was
    not valid. `limits` are those for further files, None unless they are offered.
    """

    context: Context
    transport: WebSocketTransport
    peer: Peer
    log: FilteringBoundLogger
    handshake_grant: Grant | None = None
    credential: str | None = field(default=None, repr=False)
    config: Config = field(
        init=False, default=Factory(lambda it: it.context.config, takes_self=True)
    )
    opened: float = field(init=False, factory=trio.current_time)
    stored: int = field(init=False, default=0)
    over: bool = field(init=False, default=False)
    limits: Limits | None = field(init=False, default=None)
    _token: str | None = field(init=False, default=None, repr=False)  # which allowed file 0
    _rest: int = field(init=False, default=0)  # bytes that are held for a file that failed
    _counted: int = field(init=False, default=0)  # received bytes, as of `next_message`

    def when_began(self, receiver: UploadReceiver) -> float:
        """When the file of `receiver` began: with the connection, or now if it is a further one."""
        return trio.current_time() if receiver.number else self.opened

    def offer_next(self, receiver: UploadReceiver, grant: Grant) -> None:
        """Offer the client further files on this connection, and questions, if it can send them.

        The memory for whole files is held until `release`. A ticket that is valid once is for one
        file.
        """
        if not receiver.may_have_next or grant.once is not None:
            return
        chunks = self.context.config.chunks
        room = self.context.pool.take_room(chunks.room, chunks.whole)
        self.limits = Limits(max(1, chunks.next), min(chunks.whole, room), room)
        self.transport.budget.permit(room, self.limits.whole)
        receiver.offer(self.limits, ask=may_ask(self.context.config, grant))

    def continues_after(self, error: BaseException, receiver: UploadReceiver) -> bool:
        """Whether the connection may have further files after one failed with `error`."""
        if not isinstance(error, Fault) or not receiver.has_next:
            return False
        return not self.over and error.code not in ENDS_CONNECTION

    def await_rest(self) -> None:
        """Hold the memory for what may still come of a file that failed, until `forget_rest`."""
        self.forget_rest()
        self._rest = self.transport.budget.promise_left
        self.context.pool.share.take(self._rest)

    def forget_rest(self) -> None:
        """Nothing more comes for the file before: its client has begun the next one."""
        if self._rest:
            self.context.pool.give_back(self._rest)
            self._rest = 0

    def release(self) -> None:
        """Release the memory that is held for whole files, and for a file that failed."""
        self.forget_rest()
        if self.limits is not None:
            self.context.pool.give_room_back(self.limits.room)
            self.limits = None

    async def expect_metadata(self, receiver: UploadReceiver) -> Metadata:
        """Return the metadata; other signals are ignored, and do not extend the timeout.

        Raises a Fault: `idle` after `timeouts.metadata`, `bad_message` if data comes first,
        `shutting_down`.
        """
        timeout = self.config.timeouts.metadata
        with interruptible((self.context.shutdown.no_new_uploads, shutting_down)):
            with trio.move_on_after(timeout):
                while True:
                    match await self.receive(receiver, math.inf):
                        case Metadata() as metadata:
                            return metadata
                        case BinaryMessage(length=length):
                            receiver.receive_binary(length)  # raises: no data before the metadata
            raise Fault(FaultCode.IDLE, f"No metadata came within {timeout:g} seconds.")

    async def authorize(
        self, metadata: Metadata, receiver: UploadReceiver, log: FilteringBoundLogger
    ) -> Grant:
        """Return what the credential of the handshake or of the metadata allows.

        That of a ticket may be `expired` if the upload can be resumed. For a further file, the
        credential of the handshake is judged anew. Raises a Fault: `unauthorized` without a valid
        credential, `shutting_down`.
        """
        if receiver.number:
            grant = await self._further_grant(metadata.token or self.credential, log)
        else:
            grant = await self._first_grant(metadata, log, allow_expired=receiver.resumable)
        if grant.expired and not receiver.resumable:
            raise self.refuse_expired(log)
        return grant

    async def authorize_question(self, log: FilteringBoundLogger) -> Grant:
        """Return what the credential of file 0 allows now; that of a ticket may be `expired`.

        Raises a Fault: `unauthorized` if it is not valid any more, `shutting_down`.
        """
        return await self._further_grant(self._token or self.credential, log)

    async def _first_grant(
        self, metadata: Metadata, log: FilteringBoundLogger, *, allow_expired: bool
    ) -> Grant:
        authenticator, grant = self.context.authenticator, self.handshake_grant
        if grant is not None and not (grant.expired and metadata.token):
            return grant
        if authenticator.is_open:
            return Grant(self.peer.user, anonymous=True)
        if metadata.token is None:
            raise Fault(FaultCode.UNAUTHORIZED, CREDENTIAL_NEEDED)
        self._token = metadata.token
        return await self._check(metadata.token, log, allow_expired=allow_expired)

    async def _further_grant(self, credential: str | None, log: FilteringBoundLogger) -> Grant:
        if self.context.authenticator.is_open:
            return Grant(self.peer.user, anonymous=True)
        if credential is None:
            raise Fault(FaultCode.UNAUTHORIZED, CREDENTIAL_NEEDED)
        return await self._check(credential, log, allow_expired=True)  # it ends this file alone

    async def _check(
        self, credential: str, log: FilteringBoundLogger, *, allow_expired: bool
    ) -> Grant:
        shutdown = self.context.shutdown
        # Further files that are sent whole are stored while the daemon stops.
        stop = shutdown.no_uploads if self.limits is not None else shutdown.no_new_uploads
        try:
            with interruptible((stop, shutting_down)):
                return await check_credential(
                    self.context.authenticator,
                    credential,
                    self.peer.network,
                    self.context.metrics,
                    log,
                    allow_expired=allow_expired,
                )
        except Unauthorized:
            self.over = True
            raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None

    def refuse_expired(self, log: FilteringBoundLogger) -> Fault:
        """Log and count a ticket that has expired; returns the fault for it."""
        self.context.metrics.credentials_refused.inc()
        log.warning("credentials.refused", reason="the ticket has expired")
        return Fault(FaultCode.UNAUTHORIZED, NOT_VALID)

    async def unless_ended(self, receiver: UploadReceiver, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait for something other than the client.

        If the connection ends meanwhile, raises the reason as `receive` does.
        """
        results = list[T]()
        with self.transport.ended.guard():
            results.append(await wait())
        while not results:  # read up to the end, which is raised
            await self.receive(receiver, math.inf)
        return results[0]

    async def receive(
        self, receiver: UploadReceiver, idle: float, at_most: float = math.inf
    ) -> Incoming:
        """Return the next message: a signal, after `receiver` has accepted it, or data.

        Data has not been passed to `receiver` yet. Raises Fault if the client is silent for `idle`
        seconds or violates the protocol, MessageIncomplete if the message is still incomplete
        after `at_most` seconds, and TransportClosed if the connection is lost.
        """
        try:
            message = await self.transport.receive(idle, at_most)
        except PeerSilent:
            raise Fault(FaultCode.IDLE, f"Nothing came for {idle:g} seconds.") from None
        except (FrameError, FrameTooLarge) as error:
            raise self._refused(error, receiver) from None
        return receiver.receive_text(message) if isinstance(message, str) else message

    async def next_message(
        self, receiver: UploadReceiver, idle: float, rate: RateMeter | None
    ) -> Incoming:
        """As `receive`; with a `rate`, data is due, and measured.

        Raises a Fault, `too_slow`, if it comes at less than `limits.min_rate`.
        """
        while True:
            began, message = trio.current_time(), None
            try:
                message = await self.receive(receiver, idle, rate.left if rate else math.inf)
            except MessageIncomplete:
                pass  # the rate meter decides whether that was too slow
            before, self._counted = self._counted, self.transport.received
            if rate:
                rate.add(trio.current_time() - began, self._counted - before)
            if message is not None:
                return message

    def receive_nowait(self, receiver: UploadReceiver) -> Incoming | None:
        """As `receive`, if a message has come already; else None."""
        try:
            message = self.transport.receive_nowait()
        except (FrameError, FrameTooLarge) as error:
            raise self._refused(error, receiver) from None
        return receiver.receive_text(message) if isinstance(message, str) else message

    def _refused(self, error: FrameError | FrameTooLarge, receiver: UploadReceiver) -> Fault:
        """The fault for a frame behind which nothing can be received."""
        self.over = True
        if isinstance(error, FrameError):
            return Fault(FaultCode.BAD_MESSAGE, f"Not a WebSocket message: {error}.")
        if error.text:
            return Fault(
                FaultCode.BAD_MESSAGE,
                f"A signal has at most {TEXT_LIMIT} bytes.",
                limit=TEXT_LIMIT,
            )
        return receiver.overrun(error.length)
