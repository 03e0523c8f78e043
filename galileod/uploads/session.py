"""One upload, start to end: the only place where protocol, policy and storage meet."""

import logging
import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
import trio
from attrs import define, field
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant, Unauthorized, largest
from galileod.config.model import Config
from galileod.hooks.receipt import make_receipt
from galileod.ledger.base import LedgerError
from galileod.metrics import DISCONNECTED
from galileod.net.addresses import network_of_peer
from galileod.net.frames import TEXT_LIMIT, BinaryMessage, FrameTooLarge, MessagePart
from galileod.net.websocket import (
    FrameError,
    PeerSilent,
    StillComing,
    TransportClosed,
    WebSocketTransport,
)
from galileod.policy.layout import place
from galileod.policy.limits import check_size
from galileod.policy.names import safe_name
from galileod.policy.pacing import Pacer, least_credit
from galileod.policy.rate import RateMeter
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Finished, HashClaim, Ignored, Metadata
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.states import ReceiverState
from galileod.shutdown import Interrupt
from galileod.storage.base import (
    RUNNING_HASH,
    ConflictError,
    NoSpaceError,
    Sink,
    StorageError,
    Stored,
)

from .context import Context
from .memory import MemoryAccount

HASH_TYPES: Final = ("sha1", "sha256", "sha512", "blake2b")
"""What a client may send a hash of; sha1 is computed as data arrives, the others at the end."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
REFUSED: Final = 1008
INTERNAL_ERROR: Final = 1011
"""Close codes of RFC 6455, section 7.4.1."""

Incoming = Metadata | Finished | Ignored | MessagePart | BinaryMessage
"""What a client may send: a signal, or bytes of a chunk."""

_log: FilteringBoundLogger = structlog.get_logger()


@define
class Session:
    """One upload on one connection."""

    context: Context
    transport: WebSocketTransport
    user: str
    peer: str
    log: FilteringBoundLogger
    shown: Grant | None = None
    receiver: UploadReceiver = field(factory=UploadReceiver)
    progress: "Progress" = field(factory=lambda: Progress(trio.current_time()))
    received: int = 0
    stored: bool = False
    config: Config = field(init=False)
    account: MemoryAccount = field(init=False)
    rate: RateMeter = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin as whoever is calling."""
        self.account = MemoryAccount(self.context.pool, self.user)
        self.begin()

    def begin(self) -> None:
        """Hold on to the settings that are in force now, for this upload, and watch its rate."""
        self.config = self.context.config
        self.rate = RateMeter(self.config.limits.min_rate, self.config.timeouts.idle)

    @property
    def unfinished(self) -> bool:
        """Whether an upload would be lost by an end now: its file is named, and not stored."""
        named = self.receiver.metadata is not None
        return named and self.receiver.state is not ReceiverState.CLOSED

    async def receive_upload(self) -> None:
        """The straight way of one upload. Raises Fault and TransportClosed."""
        upload = secrets.token_hex(8)
        metadata = await self.expect_metadata()
        self.begin()
        self.log = self.log.bind(upload=upload, name=metadata.name, size=metadata.size)
        grant = await self.authorize(metadata)
        self.log = self.log.bind(user=grant.user)
        self.account = MemoryAccount(self.context.pool, grant.user)
        check_size(metadata.size, largest(grant, self.config.limits.max_file_size))
        path = self.find_place(grant, safe_name(metadata.name))
        with _storage_faults():
            async with (
                self.context.admission.admit(
                    upload,
                    grant,
                    metadata.size,
                    lambda: self.receiver.window.remaining,
                    self.log,
                ) as reservation,
                await self.context.store.create(upload, path) as sink,
            ):
                self.log.info("upload.started")
                claim = await self.receive_file(sink)
                sha1 = await self.verify(sink, claim)
                if self.config.hooks.stored:
                    receipt = make_receipt(
                        upload, metadata.size, sha1, claim, grant.user, self.peer
                    )
                    await reservation.promise(sink, receipt)
                async with self.context.publication.hold(replaces=sink.replaces):
                    stored = await sink.commit()
                    await reservation.become(stored)
        self.stored = True
        self.log_stored(stored, sha1, verified=claim is not None)
        close = self.receiver.close(stored.name.rpartition("/")[2])
        await self.transport.send(close, timeout=self.config.timeouts.close)

    async def expect_metadata(self) -> Metadata:
        """The first signal."""
        timeout = self.config.timeouts.metadata
        with self.interrupted_by(self.context.shutdown.no_new_uploads):
            with trio.move_on_after(timeout):
                while True:
                    metadata = await self.next_message(math.inf, math.inf)
                    if isinstance(metadata, Metadata):
                        return metadata
            raise Fault(FaultCode.IDLE, f"No metadata came within {timeout:g} seconds.")

    async def authorize(self, metadata: Metadata) -> Grant:
        """Whose upload this is, by what was shown in the handshake, or is in the metadata."""
        authenticator = self.context.authenticator
        if self.shown is not None:
            return self.shown
        if authenticator.is_open:
            return Grant(self.user)
        if metadata.token is None:
            raise Fault(FaultCode.UNAUTHORIZED, "A token or a ticket is needed to upload here.")
        try:
            with self.interrupted_by(self.context.shutdown.no_new_uploads):
                return await authenticator.check(metadata.token, network_of_peer(self.peer))
        except Unauthorized as refused:
            self.context.metrics.credentials_refused.inc()
            self.log.warning("credentials.refused", reason=refused.why)
            raise Fault(FaultCode.UNAUTHORIZED, NOT_VALID) from None

    def find_place(self, grant: Grant, name: str) -> str:
        """The path that the file shall have below the directory."""
        if grant.name is not None and safe_name(grant.name) != name:
            raise Fault(FaultCode.UNAUTHORIZED, "The ticket is for a file of another name.")
        today = datetime.now(UTC).date().isoformat()
        return "/".join((*place(self.config.storage.layout, grant.user, today), name))

    async def receive_file(self, sink: Sink) -> HashClaim | None:
        """Grant, store, grant again, until the client has finished; gives the hash that it sent."""
        chunks = self.config.chunks
        head_start = self.account.head_start
        pacer = Pacer(chunks.min, chunks.max, chunks.max_in_flight, head_start)
        idle = self.config.timeouts.idle
        ending = trio.CancelScope()
        with self.interrupted_by(self.context.shutdown.no_uploads), self.account, ending:
            while True:
                await self.grant(pacer)
                if self.receiver.state is ReceiverState.EXPECT_FINISHED:
                    # Nothing but `finished` is due; no chatter puts this off.
                    ending.deadline = min(ending.deadline, trio.current_time() + idle)
                match await self.next_data():
                    case MessagePart(pieces):
                        await sink.write(pieces)
                    case BinaryMessage(pieces, length, first_byte, last_byte):
                        waited = pacer.arrived(length, first_byte, last_byte)
                        if length:
                            await sink.write(pieces)
                            self.chunk_stored(length, waited)
                        pacer.stored(length, trio.current_time())
                        self.account.settle(self.receiver.window.promised)
                    case Finished(claim):
                        return claim
        raise Fault(FaultCode.IDLE, f"The upload was not finished within {idle:g} seconds.")

    def chunk_stored(self, length: int, waited: float | None) -> None:
        """Count a chunk, which came so many seconds after it was asked for."""
        self.progress.stored(length)
        metrics = self.context.metrics
        metrics.upload_bytes.inc(length)
        metrics.chunk_bytes.observe(length)
        if waited is not None:
            metrics.round_trip_seconds.observe(waited)

    async def verify(self, sink: Sink, claim: HashClaim | None) -> str:
        """Compare the hash that the client sent, and give the sha1 of what arrived."""
        if claim is None:
            if self.config.hash.required:
                raise Fault(FaultCode.HASH_REQUIRED, "This server takes no file without a hash.")
            return await sink.digest(RUNNING_HASH)
        if claim.type not in HASH_TYPES:
            raise Fault(
                FaultCode.UNSUPPORTED_HASH,
                f"The hash type is not known here. Known are {', '.join(HASH_TYPES)}.",
                type=claim.type[:64],
            )
        digest = await sink.digest(claim.type)
        if claim.value != digest:
            raise Fault(
                FaultCode.HASH_MISMATCH,
                f"The {claim.type} of what arrived is not the one that was sent.",
                expected=claim.value[:128],
                received=digest,
            )
        return digest if claim.type == RUNNING_HASH else await sink.digest(RUNNING_HASH)

    async def grant(self, pacer: Pacer) -> None:
        """Send every `ready` that the pace, the memory and the file have room for."""
        window = self.receiver.window
        # What earlier credits left over is void once none is out.
        promised = window.promised if window.outstanding else 0
        self.transport.settle(promised)
        if not promised:
            self.account.settle(0)
        taken = self.take_credits(pacer, self.account.room)
        if self.receiver.state is ReceiverState.RECEIVING and not window.outstanding:
            # All memory is promised; nothing will come of this upload before it has its turn.
            taken = self.take_credits(pacer, await self.wait_for_memory())
        if taken:
            # A peer that does not read is as good as gone.
            signals = [self.receiver.ready(credit) for credit in taken]
            await self.transport.send(*signals, timeout=self.config.timeouts.idle)

    async def wait_for_memory(self) -> int:
        """Stand in line for the smallest share, in bytes, while the client is there."""
        with self.transport.gone.guard():
            try:
                with trio.fail_after(self.config.timeouts.idle):
                    return await self.account.turn()
            except trio.TooSlowError:
                raise Fault(
                    FaultCode.BUSY, "The server has too many uploads at once. Try again later."
                ) from None
        raise TransportClosed("the connection was lost")

    def take_credits(self, pacer: Pacer, room: int) -> list[int]:
        """Take credits out of the memory; all at once, so that others see what is left."""
        taken, window = list[int](), self.receiver.window
        began, current = self.config.chunks, self.context.config.chunks
        # What was lowered since this upload began holds for what it is granted from now on, but
        # for the chunk of clients that know one size: they would fail.
        most = min(began.max_in_flight, current.max_in_flight)
        largest = max(current.max, least_credit(began.min, began.max, began.memory))
        now = trio.current_time()
        while True:
            # What earlier credits left over is void once none is out.
            promised = window.promised if window.outstanding else 0
            wanted = min(pacer.credit(promised, room), largest)
            credit = self.receiver.grant(wanted, most)
            if credit is None:
                break
            if credit:
                pacer.granted(credit, now)
            self.account.settle(window.promised)
            self.transport.allow(credit)
            taken.append(credit)
            room = self.account.room
        self.progress.granted(window.outstanding)
        return taken

    async def next_data(self) -> Incoming:
        """The next message, from a client that must not be silent, nor too slow with its data."""
        message = None
        while message is None:
            began = trio.current_time()
            judged = self.receiver.state is ReceiverState.RECEIVING
            try:
                message = await self.next_message(
                    self.config.timeouts.idle, self.rate.left if judged else math.inf
                )
            except StillComing:
                pass  # fast enough or not: the meter says
            received, self.received = self.received, self.transport.received
            if judged:
                self.rate.add(trio.current_time() - began, self.received - received)
        return message

    async def next_message(self, idle: float, at_most: float) -> Incoming:
        """The next message that the protocol allows: a signal, or the bytes of a chunk."""
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
                    f"A signal may hold {TEXT_LIMIT} bytes.",
                    limit=TEXT_LIMIT,
                ) from None
            raise self.receiver.overrun(refused.length) from None
        match message:
            case str():
                return self.receiver.receive_text(message)
            case BinaryMessage(length=length):
                self.receiver.receive_binary(length)
        return message

    @contextmanager
    def interrupted_by(self, interrupt: Interrupt) -> Iterator[None]:
        """Raise a `shutting_down` Fault in here once the daemon has come so far."""
        with interrupt.guard() as scope:
            yield
        if scope.cancelled_caught:
            raise Fault(FaultCode.SHUTTING_DOWN, "The server is shutting down. Try again later.")

    def log_stored(self, stored: Stored, sha1: str, *, verified: bool) -> None:
        """Tell the log, before the client, that the file is stored."""
        seconds = trio.current_time() - self.progress.since
        self.context.metrics.stored(seconds)
        self.log.info(
            "upload.stored",
            path=stored.path,
            sha1=sha1,
            hash_verified=verified,
            seconds=round(seconds, 6),
            bytes_per_second=round(self.receiver.received / seconds) if seconds else 0,
            chunks=self.progress.chunks,
            chunk_min=self.progress.chunk_min or 0,
            chunk_max=self.progress.chunk_max,
            in_flight_max=self.progress.in_flight_max,
        )


@define
class Progress:
    """What the log tells of an upload at its end. Sizes are bytes; empty chunks do not count."""

    since: float
    chunks: int = 0
    chunk_min: int | None = None
    chunk_max: int = 0
    in_flight_max: int = 0

    def stored(self, length: int) -> None:
        """A chunk was stored."""
        self.chunks += 1
        self.chunk_min = length if self.chunk_min is None else min(self.chunk_min, length)
        self.chunk_max = max(self.chunk_max, length)

    def granted(self, outstanding: int) -> None:
        """A credit was granted."""
        self.in_flight_max = max(self.in_flight_max, outstanding)


async def serve_upload(session: Session) -> str:
    """Run the session to its end, tell the client and the log how it ended, and close.

    Gives the way in which the connection ended, as a few words.
    """
    wait = session.config.timeouts.close
    try:
        await session.receive_upload()
    except TransportClosed as gone:
        if session.unfinished:
            _log_failed(session, DISCONNECTED, str(gone))
        return await session.transport.finish(NORMAL, "gone", wait)
    except Fault as fault:
        return await _fail(session, fault, REFUSED)
    except trio.Cancelled:
        if session.unfinished:
            _log_failed(session, FaultCode.SHUTTING_DOWN, "stopped at once")
        raise
    except Exception:
        session.log.exception("upload.error")
        internal = Fault(FaultCode.INTERNAL, "Something went wrong in the server.")
        return await _fail(session, internal, INTERNAL_ERROR)
    return await session.transport.finish(NORMAL, "stored", wait)


async def _fail(session: Session, fault: Fault, close_code: int) -> str:
    _log_failed(session, fault.code, fault.reason)
    wait = session.config.timeouts.close
    try:
        await session.transport.send(session.receiver.fail(fault), timeout=wait)
    except TransportClosed as gone:
        return str(gone)
    if fault.code is FaultCode.SHUTTING_DOWN:
        # No time for the client to close by itself.
        return await session.transport.finish(GOING_AWAY, fault.code, 0)
    return await session.transport.finish(close_code, fault.code, wait)


def _log_failed(session: Session, code: str, reason: str) -> None:
    session.context.metrics.failed(code)
    ours = code in (FaultCode.STORAGE_FAILED, FaultCode.INTERNAL)
    session.log.log(
        logging.ERROR if ours else logging.WARNING,
        "upload.failed",
        code=str(code),
        reason=reason,
        received=session.receiver.received,
    )


@contextmanager
def _storage_faults() -> Iterator[None]:
    """Tell the client what the storage says; which step it was stands in the log too."""
    try:
        yield
    except NoSpaceError as error:
        raise Fault(FaultCode.NO_SPACE, f"There is no room left: {error}.") from error
    except ConflictError as error:
        raise Fault(FaultCode.CONFLICT, f"The name is taken: {error}.") from error
    except (StorageError, LedgerError) as error:
        raise Fault(FaultCode.STORAGE_FAILED, f"The storage failed: {error}.") from error
