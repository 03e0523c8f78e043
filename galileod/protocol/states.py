"""The state machines of both roles, as two tables.

An event that the table does not list for a state is a violation: by the peer if it was received,
by the caller if it was to be sent (SEND_...).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class ReceiverState(Enum):
    """The states of the receiving role."""

    EXPECT_METADATA = auto()
    RECEIVING = auto()
    EXPECT_FINISHED = auto()
    VERIFYING = auto()
    CLOSED = auto()
    FAILED = auto()


class ReceiverEvent(Enum):
    """What the receiving role receives or sends."""

    METADATA = auto()
    METADATA_OF_EMPTY_FILE = auto()
    CHUNK = auto()
    LAST_CHUNK = auto()
    EMPTY_CHUNK = auto()
    FINISHED = auto()
    ABANDON = auto()
    ASK = auto()
    SEND_READY = auto()
    SEND_CLOSE = auto()
    SEND_CLOSE_OF_STORED = auto()
    SEND_FATAL = auto()


RECEIVER: Final[Mapping[ReceiverState, Mapping[ReceiverEvent, ReceiverState]]] = {
    ReceiverState.EXPECT_METADATA: {
        ReceiverEvent.METADATA: ReceiverState.RECEIVING,
        ReceiverEvent.METADATA_OF_EMPTY_FILE: ReceiverState.EXPECT_FINISHED,
        # Between two files.
        ReceiverEvent.ASK: ReceiverState.EXPECT_METADATA,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    ReceiverState.RECEIVING: {
        ReceiverEvent.CHUNK: ReceiverState.RECEIVING,
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.RECEIVING,
        ReceiverEvent.LAST_CHUNK: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.ABANDON: ReceiverState.RECEIVING,
        # Before the first message of file 0.
        ReceiverEvent.ASK: ReceiverState.RECEIVING,
        ReceiverEvent.SEND_READY: ReceiverState.RECEIVING,
        ReceiverEvent.SEND_CLOSE_OF_STORED: ReceiverState.CLOSED,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    # Some senders notice the end of the file only when they read from it: they answer one `ready`
    # with an empty chunk.
    ReceiverState.EXPECT_FINISHED: {
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.FINISHED: ReceiverState.VERIFYING,
        ReceiverEvent.ABANDON: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.ASK: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.SEND_READY: ReceiverState.EXPECT_FINISHED,
        ReceiverEvent.SEND_CLOSE_OF_STORED: ReceiverState.CLOSED,
        ReceiverEvent.SEND_FATAL: ReceiverState.FAILED,
    },
    # A sender may answer a surplus `ready` with another empty chunk or `finished`.
    ReceiverState.VERIFYING: {
        ReceiverEvent.EMPTY_CHUNK: ReceiverState.VERIFYING,
        ReceiverEvent.FINISHED: ReceiverState.VERIFYING,
        ReceiverEvent.ABANDON: ReceiverState.VERIFYING,
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
    """The states of the sending role."""

    START = auto()
    SENDING = auto()
    FINISHING = auto()
    AWAIT_CLOSE = auto()
    ABANDONED = auto()
    STORED = auto()
    FAILED = auto()


class SenderEvent(Enum):
    """What the sending role receives or sends."""

    SEND_METADATA = auto()
    SEND_METADATA_OF_EMPTY_FILE = auto()
    SEND_CHUNK = auto()
    SEND_LAST_CHUNK = auto()
    SEND_FINISHED = auto()
    SEND_ABANDON = auto()
    SEND_ASK = auto()
    READY = auto()
    READY_AT_END = auto()
    CLOSE = auto()
    CLOSE_OF_STORED = auto()
    ERROR = auto()
    FATAL = auto()


SENDER: Final[Mapping[SenderState, Mapping[SenderEvent, SenderState]]] = {
    # A server may refuse before the metadata, for example while it shuts down.
    SenderState.START: {
        SenderEvent.SEND_METADATA: SenderState.SENDING,
        SenderEvent.SEND_METADATA_OF_EMPTY_FILE: SenderState.FINISHING,
        SenderEvent.SEND_ABANDON: SenderState.ABANDONED,
        SenderEvent.ERROR: SenderState.START,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.SENDING: {
        SenderEvent.SEND_CHUNK: SenderState.SENDING,
        SenderEvent.SEND_LAST_CHUNK: SenderState.FINISHING,
        SenderEvent.SEND_ABANDON: SenderState.ABANDONED,
        # Before the first message of file 0.
        SenderEvent.SEND_ASK: SenderState.SENDING,
        SenderEvent.READY: SenderState.SENDING,
        # The server has the whole file already.
        SenderEvent.READY_AT_END: SenderState.FINISHING,
        SenderEvent.CLOSE_OF_STORED: SenderState.STORED,
        SenderEvent.ERROR: SenderState.SENDING,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.FINISHING: {
        SenderEvent.SEND_FINISHED: SenderState.AWAIT_CLOSE,
        SenderEvent.SEND_ABANDON: SenderState.ABANDONED,
        SenderEvent.SEND_ASK: SenderState.FINISHING,
        SenderEvent.READY: SenderState.FINISHING,
        SenderEvent.READY_AT_END: SenderState.FINISHING,
        SenderEvent.CLOSE_OF_STORED: SenderState.STORED,
        SenderEvent.ERROR: SenderState.FINISHING,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    # Every surplus `ready` is answered with another `finished`.
    SenderState.AWAIT_CLOSE: {
        SenderEvent.SEND_FINISHED: SenderState.AWAIT_CLOSE,
        SenderEvent.SEND_ABANDON: SenderState.ABANDONED,
        # Between two files, as in the last two states.
        SenderEvent.SEND_ASK: SenderState.AWAIT_CLOSE,
        SenderEvent.READY: SenderState.AWAIT_CLOSE,
        SenderEvent.CLOSE: SenderState.STORED,
        SenderEvent.ERROR: SenderState.AWAIT_CLOSE,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    # What the server had sent before it received `abandon` still arrives.
    SenderState.ABANDONED: {
        SenderEvent.READY: SenderState.ABANDONED,
        SenderEvent.READY_AT_END: SenderState.ABANDONED,
        SenderEvent.CLOSE: SenderState.STORED,
        SenderEvent.CLOSE_OF_STORED: SenderState.STORED,
        SenderEvent.ERROR: SenderState.ABANDONED,
        SenderEvent.FATAL: SenderState.FAILED,
    },
    SenderState.STORED: {SenderEvent.SEND_ASK: SenderState.STORED},
    SenderState.FAILED: {SenderEvent.SEND_ASK: SenderState.FAILED},
}
