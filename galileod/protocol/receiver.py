"""The receiving role, without I/O: what the peer said goes in, what it means comes out."""

from typing import Final

from attrs import frozen

from .credits import CreditWindow
from .errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    Finished,
    Ignored,
    Metadata,
    decode_client,
    encode_close,
    encode_error,
    encode_ready,
)
from .states import RECEIVER, ReceiverEvent, ReceiverState

MAX_EMPTY_CHUNKS: Final = 64
"""Empty chunks in one upload. Each costs a `ready`, so without a bound two ends could play for
ever; the original senders need two."""


@frozen
class Chunk:
    """`length` bytes of the file arrived, in order."""

    length: int


class UploadReceiver:
    """One upload, as the server sees it.

    The `receive_` methods raise RemoteProtocolError for what the protocol does not allow, and the
    others LocalProtocolError; either way the state is as before.
    """

    def __init__(self) -> None:
        self.state = ReceiverState.EXPECT_METADATA
        self.metadata: Metadata | None = None
        self.window = CreditWindow(0)
        self._end_ready_out = False
        self._empty_chunks = 0

    @property
    def received(self) -> int:
        """Bytes of the file that have arrived."""
        return self.metadata.size - self.window.remaining if self.metadata else 0

    def receive_text(self, text: str) -> Metadata | Finished | Ignored:
        """A TEXT message arrived."""
        signal = decode_client(text)
        match signal:
            case Metadata():
                empty = signal.size == 0
                self._step(
                    ReceiverEvent.METADATA_OF_EMPTY_FILE if empty else ReceiverEvent.METADATA
                )
                self.metadata = signal
                self.window = CreditWindow(signal.size)
            case Finished():
                if self.state is ReceiverState.RECEIVING:
                    raise self._wrong_size(self.received)
                self._step(ReceiverEvent.FINISHED)
            case Ignored():
                pass
        return signal

    def receive_binary(self, length: int) -> Chunk:
        """A BINARY message of `length` bytes arrived."""
        if length == 0:
            return self._receive_empty()
        if length > self.window.limit:
            raise self.overrun(length)
        last = length == self.window.remaining
        self._step(ReceiverEvent.LAST_CHUNK if last else ReceiverEvent.CHUNK)
        self.window.take(length)
        return Chunk(length)

    def overrun(self, length: int) -> RemoteProtocolError:
        """The error for a BINARY message of `length` bytes, more than was granted."""
        if self.metadata is None:
            return RemoteProtocolError(
                FaultCode.BAD_MESSAGE, "Data came before the metadata. Send name and size first."
            )
        if length > self.window.remaining:
            return self._wrong_size(self.received + length)
        limit = self.window.limit
        early = 0 < length <= limit  # it came first, and the `ready` was sent since
        what = "before it was asked for" if early else f"where at most {limit} were granted"
        return RemoteProtocolError(
            FaultCode.BAD_CHUNK,
            f"A chunk of {length} bytes came {what}.",
            limit=limit,
            received=length,
        )

    def grant(self, chunk: int, in_flight: int) -> int | None:
        """Grant one more credit, if the upload can use it.

        `chunk` is its size in bytes where the file has so many left, `in_flight` how many may be
        outstanding. Gives the size granted, 0 for the `ready` that asks for `finished`, None where
        there is nothing to grant now. `ready` turns a size into the signal to send.
        """
        match self.state:
            case ReceiverState.RECEIVING if self.window.outstanding < in_flight:
                credit = self.window.next_credit(chunk)
                if credit == 0:
                    return None
                self._step(ReceiverEvent.SEND_READY)
                self.window.grant(credit)
                return credit
            case ReceiverState.EXPECT_FINISHED if not self._end_ready_out:
                self._step(ReceiverEvent.SEND_READY)
                self._end_ready_out = True
                return 0
        return None

    @staticmethod
    def ready(credit: int) -> str:
        """The signal for a credit that `grant` gave."""
        return encode_ready(credit or None)

    def close(self, name: str | None = None) -> str:
        """The file is verified and stored: the signal that says so.

        `name` is the one that it stands under (None: the client's). It is told where the client
        would not know it, and otherwise the signal is that of the original, key by key.
        """
        self._step(ReceiverEvent.SEND_CLOSE)
        sent = self.metadata.name if self.metadata else None
        return encode_close(None if name == sent else name)

    def fail(self, fault: Fault) -> str:
        """The upload ends here: the signal that says why."""
        self._step(ReceiverEvent.SEND_FATAL)
        return encode_error(fault.reason, fault.code, fault.details)

    def _receive_empty(self) -> Chunk:
        if self._empty_chunks == MAX_EMPTY_CHUNKS:
            raise RemoteProtocolError(
                FaultCode.BAD_CHUNK, f"More than {MAX_EMPTY_CHUNKS} empty chunks came."
            )
        if self.state is ReceiverState.RECEIVING and self.window.outstanding == 0:
            raise self.overrun(0)
        self._step(ReceiverEvent.EMPTY_CHUNK)
        self._empty_chunks += 1
        self._end_ready_out = False
        if self.state is ReceiverState.RECEIVING:
            self.window.take(0)
        return Chunk(0)

    def _wrong_size(self, received: int) -> RemoteProtocolError:
        expected = self.metadata.size if self.metadata else 0
        return RemoteProtocolError(
            FaultCode.SIZE_MISMATCH,
            f"Expected: {expected} bytes. Got: {received} bytes.",
            expected=expected,
            received=received,
        )

    def _step(self, event: ReceiverEvent) -> None:
        following = RECEIVER[self.state].get(event)
        if following is not None:
            self.state = following
            return
        what = event.name.lower().replace("_", " ")
        where = self.state.name.lower().replace("_", " ")
        if event.name.startswith("SEND_"):
            raise LocalProtocolError(f"cannot {what} in the state '{where}'")
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, f"The message ({what}) does not fit here (state: {where})."
        )
