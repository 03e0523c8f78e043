"""The phases of an upload, for both roles, and every step that leads from one to another.

The two tables say all of it: a step that is not in them is a mistake, of the peer if the event was
received, of ours if it was to be sent.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class ReceiverState(Enum):
    """Where the receiving side stands."""

    EXPECT_METADATA = auto()
    RECEIVING = auto()
    EXPECT_FINISHED = auto()
    VERIFYING = auto()
    CLOSED = auto()
    FAILED = auto()


class ReceiverEvent(Enum):
    """What the receiving side gets from the peer, or sends."""

    METADATA = auto()
    METADATA_OF_EMPTY_FILE = auto()
    CHUNK = auto()
    LAST_CHUNK = auto()
    EMPTY_CHUNK = auto()
    FINISHED = auto()
    SEND_READY = auto()
    SEND_CLOSE = auto()
    SEND_FATAL = auto()


RECEIVER: Final[Mapping[ReceiverState, Mapping[ReceiverEvent, ReceiverState]]] = {
    ReceiverState.EXPECT_METADATA: {
        ReceiverEvent.METADATA: ReceiverState.RECEIVING,
        ReceiverEvent.METADATA_OF_EMPTY_FILE: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    ReceiverState.RECEIVING: {
        ReceiverEvent.CHUNK: ReceiverState.RECEIVING,
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.RECEIVING,
        ReceiverEvent.LAST_CHUNK: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.SEND_READY: ReceiverState.RECEIVING,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    # Some senders learn of the end by reading nothing, and answer one ready with an empty chunk.
    ReceiverState.EXPECT_FINISHED: {
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.FINISHED: ReceiverState.VERIFYING,
        ReceiverEvent.SEND_READY: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    # Surplus answers to a surplus ready do no harm.
    ReceiverState.VERIFYING: {
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.VERIFYING,
        ReceiverEvent.FINISHED: ReceiverState.VERIFYING,
        ReceiverEvent.SEND_CLOSE: ReceiverState.CLOSED,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    ReceiverState.CLOSED: {
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.CLOSED,
        ReceiverEvent.FINISHED: ReceiverState.CLOSED,
    },
    ReceiverState.FAILED: {},
}


class SenderState(Enum):
    """Where the sending side stands."""

    START = auto()
    SENDING = auto()
    FINISHING = auto()
    AWAIT_CLOSE = auto()
    STORED = auto()
    FAILED = auto()


class SenderEvent(Enum):
    """What the sending side gets from the peer, or sends."""

    SEND_METADATA = auto()
    SEND_METADATA_OF_EMPTY_FILE = auto()
    SEND_CHUNK = auto()
    SEND_LAST_CHUNK = auto()
    SEND_FINISHED = auto()
    READY = auto()
    CLOSE = auto()
    ERROR = auto()
    FATAL = auto()


SENDER: Final[Mapping[SenderState, Mapping[SenderEvent, SenderState]]] = {
    # A server may refuse before it knows anything: it is shutting down, say.
    SenderState.START: {
        SenderEvent.SEND_METADATA: SenderState.SENDING,
        SenderEvent.SEND_METADATA_OF_EMPTY_FILE: SenderState.FINISHING,
        SenderEvent.ERROR: SenderState.START,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.SENDING: {
        SenderEvent.SEND_CHUNK: SenderState.SENDING,
        SenderEvent.SEND_LAST_CHUNK: SenderState.FINISHING,
        SenderEvent.READY: SenderState.SENDING,
        SenderEvent.ERROR: SenderState.SENDING,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.FINISHING: {
        SenderEvent.SEND_FINISHED: SenderState.AWAIT_CLOSE,
        SenderEvent.READY: SenderState.FINISHING,
        SenderEvent.ERROR: SenderState.FINISHING,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    # Every surplus ready is answered with one more finished.
    SenderState.AWAIT_CLOSE: {
        SenderEvent.SEND_FINISHED: SenderState.AWAIT_CLOSE,
        SenderEvent.READY: SenderState.AWAIT_CLOSE,
        SenderEvent.CLOSE: SenderState.STORED,
        SenderEvent.ERROR: SenderState.AWAIT_CLOSE,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.STORED: {},
    SenderState.FAILED: {},
}
