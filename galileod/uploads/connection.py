"""The connection of an upload: the state that exists before the metadata arrives."""

import math
from typing import Final

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

    async def authorize(self, metadata: Metadata, log: FilteringBoundLogger) -> Grant:
        """Return what the credential of the handshake or of the metadata allows.

        Raises a Fault: `unauthorized` without a valid credential, `shutting_down`.
        """
        authenticator = self.context.authenticator
        if self.handshake_grant is not None:
            return self.handshake_grant
        if authenticator.is_open:
            return Grant(self.peer.user)
        if metadata.token is None:
            raise Fault(FaultCode.UNAUTHORIZED, CREDENTIAL_NEEDED)
        try:
            with interruptible(self.context.shutdown.no_new_uploads):
                return await check_credential(
                    authenticator, metadata.token, self.peer.network, self.context.metrics, log
                )
        except Unauthorized:
            raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None

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
