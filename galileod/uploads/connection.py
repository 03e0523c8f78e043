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
from galileod.net.frames import TEXT_LIMIT, BinaryMessage, FrameTooLarge, MessagePart
from galileod.net.peer import Peer
from galileod.net.watch import PeerSilent
from galileod.net.websocket import FrameError, WebSocketTransport
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Abandon, Finished, Ignored, Metadata
from galileod.protocol.receiver import UploadReceiver

from .context import Context
from .faults import interruptible

T = TypeVar("T")

Incoming = Metadata | Finished | Abandon | Ignored | MessagePart | BinaryMessage
"""What a client may send: a signal, or data of a chunk."""

CREDENTIAL_NEEDED: Final = "A token or a ticket is needed to upload here."


@define(eq=False)
class Connection:
    """One upgraded connection.

    `handshake_grant` is what the credential of the handshake allows, None if there was none.
    `config` is the configuration in force at the time `opened`. `stored` is the number of files
    stored.
    """

    context: Context
    transport: WebSocketTransport
    peer: Peer
    log: FilteringBoundLogger
    handshake_grant: Grant | None = None
    config: Config = field(
        init=False, default=Factory(lambda it: it.context.config, takes_self=True)
    )
    opened: float = field(init=False, factory=trio.current_time)
    stored: int = field(init=False, default=0)

    async def expect_metadata(self, receiver: UploadReceiver) -> Metadata:
        """Return the metadata; other signals are ignored, and do not extend the timeout.

        Raises a Fault: `idle` after `timeouts.metadata`, `bad_message` if data comes first,
        `shutting_down`.
        """
        timeout = self.config.timeouts.metadata
        with interruptible(self.context.shutdown.no_new_uploads):
            with trio.move_on_after(timeout):
                while True:
                    match await self.receive(receiver, math.inf):
                        case Metadata() as metadata:
                            return metadata
                        case BinaryMessage(length=length):
                            receiver.receive_binary(length)  # raises: no data before the metadata
            raise Fault(FaultCode.IDLE, f"No metadata came within {timeout:g} seconds.")

    async def authorize(
        self, metadata: Metadata, log: FilteringBoundLogger, *, allow_expired: bool
    ) -> Grant:
        """Return what the credential of the handshake or of the metadata allows.

        With `allow_expired`, that of a ticket may be `expired`. Raises a Fault: `unauthorized`
        without a valid credential, `shutting_down`.
        """
        authenticator, grant = self.context.authenticator, self.handshake_grant
        if grant is not None and not (grant.expired and metadata.token):
            if grant.expired and not allow_expired:
                raise self.refuse_expired(log)
            return grant
        if authenticator.is_open:
            return Grant(self.peer.user, anonymous=True)
        if metadata.token is None:
            raise Fault(FaultCode.UNAUTHORIZED, CREDENTIAL_NEEDED)
        try:
            with interruptible(self.context.shutdown.no_new_uploads):
                return await check_credential(
                    authenticator,
                    metadata.token,
                    self.peer.network,
                    self.context.metrics,
                    log,
                    allow_expired=allow_expired,
                )
        except Unauthorized:
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
        except FrameError as error:
            raise Fault(FaultCode.BAD_MESSAGE, f"Not a WebSocket message: {error}.") from None
        except FrameTooLarge as refused:
            if refused.text:
                raise Fault(
                    FaultCode.BAD_MESSAGE,
                    f"A signal has at most {TEXT_LIMIT} bytes.",
                    limit=TEXT_LIMIT,
                ) from None
            raise receiver.overrun(refused.length) from None
        return receiver.receive_text(message) if isinstance(message, str) else message
