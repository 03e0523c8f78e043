"""Every (state, event) pair of both roles, against the real objects."""

from collections.abc import Callable
from enum import Enum
from typing import Final

import pytest
from helpers.facts import receiver_facts

from galileod.protocol.encoding import encode_ask
from galileod.protocol.errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from galileod.protocol.messages import (
    ASK,
    NEXT,
    RESUME,
    Agreement,
    Ask,
    AskEntry,
    Ignored,
    Limits,
    Metadata,
)
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.sender import UploadSender
from galileod.protocol.states import (
    RECEIVER,
    SENDER,
    ReceiverEvent,
    ReceiverState,
    SenderEvent,
    SenderState,
)

SIZE: Final = 10
KEY: Final = "0123456789abcdef" * 2
CAN: Final = frozenset({RESUME})
OFFERED: Final = f'"upload": "{KEY}", "can": ["resume"]'
READY: Final = '{"ready": true, "can": ["resume"], "offset": 0, "keep": 60}'
"""As a later `ready` it has more keys than a server sends, which the sender ignores."""

LIMITS: Final = Limits(1, 0, 0)
ASKING: Final = frozenset({NEXT, ASK})
FINISHED: Final = '{"finished": true}'
QUESTION: Final = Ask((AskEntry("a", 1, modified=1),), 1)
STOPPED: Final = Fault(FaultCode.SHUTTING_DOWN, "The server stops.")

RECEIVER_PAIRS: Final = [(state, event) for state in ReceiverState for event in ReceiverEvent]
RECEIVER_STEPS: Final = [pair for pair in RECEIVER_PAIRS if pair[1] in RECEIVER[pair[0]]]
RECEIVER_MISTAKES: Final = [pair for pair in RECEIVER_PAIRS if pair not in RECEIVER_STEPS]
SENDER_PAIRS: Final = [(state, event) for state in SenderState for event in SenderEvent]
SENDER_STEPS: Final = [pair for pair in SENDER_PAIRS if pair[1] in SENDER[pair[0]]]
SENDER_MISTAKES: Final = [pair for pair in SENDER_PAIRS if pair not in SENDER_STEPS]


def name_of(value: Enum) -> str:
    return value.name.lower()


def family(event: Enum) -> type[Exception]:
    return LocalProtocolError if event.name.startswith("SEND_") else RemoteProtocolError


RECEIVER_ACTS: Final[dict[ReceiverEvent, Callable[[UploadReceiver], object]]] = {
    ReceiverEvent.METADATA: lambda it: it.receive_text(f'{{"name": "a", "size": 10, {OFFERED}}}'),
    ReceiverEvent.METADATA_OF_EMPTY_FILE: lambda it: it.receive_text(
        f'{{"name": "a", "size": 0, {OFFERED}}}'
    ),
    ReceiverEvent.CHUNK: lambda it: it.receive_binary(3),
    ReceiverEvent.LAST_CHUNK: lambda it: it.receive_binary(SIZE),
    ReceiverEvent.EMPTY_CHUNK: lambda it: it.receive_binary(0),
    ReceiverEvent.FINISHED: lambda it: it.receive_text(FINISHED),
    ReceiverEvent.ABANDON: lambda it: it.receive_text('{"abandon": true}'),
    ReceiverEvent.ASK: lambda it: it.receive_text(encode_ask(QUESTION)),
    ReceiverEvent.SEND_READY: lambda it: it.grant(SIZE, 1),
    ReceiverEvent.SEND_CLOSE: lambda it: it.close(),
    ReceiverEvent.SEND_CLOSE_OF_STORED: lambda it: it.close_stored(),
    ReceiverEvent.SEND_FATAL: lambda it: it.fail(STOPPED),
}

RECEIVER_WAY: Final = [
    ReceiverEvent.METADATA,
    ReceiverEvent.SEND_READY,
    ReceiverEvent.LAST_CHUNK,
    ReceiverEvent.FINISHED,
    ReceiverEvent.SEND_CLOSE,
]


def receiver_in(state: ReceiverState, event: ReceiverEvent) -> UploadReceiver:
    """A receiver brought into `state`, with a credit out unless that is the event."""
    if event is ReceiverEvent.ASK:
        return asked_receiver_in(state)
    receiver = UploadReceiver(CAN)
    if state is ReceiverState.FAILED:
        receiver.fail(STOPPED)
    for act in RECEIVER_WAY:
        asks = act is ReceiverEvent.SEND_READY and event is not ReceiverEvent.SEND_READY
        if receiver.state is state and not asks:
            break
        RECEIVER_ACTS[act](receiver)
    assert receiver.state is state
    return receiver


def asked_receiver_in(state: ReceiverState) -> UploadReceiver:
    """A receiver that `ask` is agreed with, brought into `state`, if possible without a chunk."""
    empty = state is not ReceiverState.RECEIVING
    receiver = UploadReceiver(ASKING)
    size = 0 if empty else SIZE
    receiver.receive_text(f'{{"name": "a", "size": {size}, "can": ["next", "ask"]}}')
    receiver.offer(LIMITS, ask=True)
    granted = receiver.grant(SIZE, 1)
    assert granted
    receiver.ready(granted)
    if state is ReceiverState.FAILED:
        receiver.fail(STOPPED, continues=True)
    for act in RECEIVER_WAY[-2:]:
        if receiver.state is not state:
            RECEIVER_ACTS[act](receiver)
        if state is ReceiverState.EXPECT_METADATA:
            receiver = receiver.next()
    assert receiver.state is state
    return receiver


@pytest.mark.parametrize(("state", "event"), RECEIVER_STEPS, ids=name_of)
def test_the_receiver_makes_each_step_of_its_table(
    state: ReceiverState, event: ReceiverEvent
) -> None:
    receiver = receiver_in(state, event)
    assert RECEIVER_ACTS[event](receiver) is not None
    assert receiver.state is RECEIVER[state][event]


@pytest.mark.parametrize(
    ("state", "event"),
    # Where there is no ready to send, `grant` says so; it is asked after every message. Where there
    # is nothing to abandon, the signal is ignored.
    [
        pair
        for pair in RECEIVER_MISTAKES
        if pair[1] not in (ReceiverEvent.SEND_READY, ReceiverEvent.ABANDON)
    ],
    ids=name_of,
)
def test_the_receiver_refuses_any_other_step_and_is_as_before(
    state: ReceiverState, event: ReceiverEvent
) -> None:
    receiver = receiver_in(state, event)
    before = receiver_facts(receiver)
    with pytest.raises(family(event)):
        RECEIVER_ACTS[event](receiver)
    assert receiver_facts(receiver) == before


@pytest.mark.parametrize(
    "state",
    [state for state, event in RECEIVER_MISTAKES if event is ReceiverEvent.SEND_READY],
    ids=name_of,
)
def test_the_receiver_grants_nothing_in_a_state_without_ready(state: ReceiverState) -> None:
    receiver = receiver_in(state, ReceiverEvent.SEND_READY)
    before = receiver_facts(receiver)
    assert receiver.grant(SIZE, 16) is None
    assert receiver_facts(receiver) == before


@pytest.mark.parametrize(
    "state",
    [state for state, event in RECEIVER_MISTAKES if event is ReceiverEvent.ABANDON],
    ids=name_of,
)
def test_the_receiver_ignores_abandon_in_a_state_without_it(state: ReceiverState) -> None:
    receiver = receiver_in(state, ReceiverEvent.ABANDON)
    before = receiver_facts(receiver)
    assert receiver.receive_text('{"abandon": true}') == Ignored()
    assert receiver_facts(receiver) == before


@pytest.mark.parametrize(("state", "event"), RECEIVER_MISTAKES, ids=name_of)
def test_a_receiver_step_outside_the_table_raises_by_who_made_it(
    state: ReceiverState, event: ReceiverEvent
) -> None:
    receiver = receiver_in(state, event)
    with pytest.raises(family(event)):
        receiver._step(event)
    assert receiver.state is state


def ask(sender: UploadSender) -> str:
    """Ask, as on a connection where that is agreed."""
    sender.agreement = Agreement(ASKING, limits=LIMITS)
    return sender.ask(QUESTION)


SENDER_ACTS: Final[dict[SenderEvent, Callable[[UploadSender], object]]] = {
    SenderEvent.SEND_METADATA: lambda it: it.start(),
    SenderEvent.SEND_METADATA_OF_EMPTY_FILE: lambda it: it.start(),
    SenderEvent.SEND_CHUNK: lambda it: it.chunk_sent(3),
    SenderEvent.SEND_LAST_CHUNK: lambda it: it.chunk_sent(SIZE),
    SenderEvent.SEND_FINISHED: lambda it: it.finish(),
    SenderEvent.SEND_ABANDON: lambda it: (
        it.start() if it.state is SenderState.START else it.abandon()
    ),
    SenderEvent.SEND_ASK: ask,
    SenderEvent.READY: lambda it: it.receive_text(READY),
    SenderEvent.READY_AT_END: lambda it: it.receive_text(
        f'{{"ready": true, "can": ["resume"], "offset": {it._metadata.size}}}'
    ),
    SenderEvent.CLOSE_OF_STORED: lambda it: it.receive_text('{"close": true, "can": ["resume"]}'),
    SenderEvent.CLOSE: lambda it: it.receive_text('{"close": true}'),
    SenderEvent.ERROR: lambda it: it.receive_text('{"error": "slow"}'),
    SenderEvent.FATAL: lambda it: it.receive_text('{"error": "full", "fatal": true}'),
}


FIRST: Final = (SenderEvent.READY_AT_END, SenderEvent.CLOSE_OF_STORED)
"""Events that only the first signal of a server can be."""

ANSWERS: Final = (SenderEvent.SEND_CHUNK, SenderEvent.SEND_LAST_CHUNK, SenderEvent.SEND_FINISHED)

SENDER_WAY: Final = [
    SenderEvent.SEND_METADATA,
    SenderEvent.READY,
    SenderEvent.SEND_LAST_CHUNK,
    SenderEvent.READY,
    SenderEvent.SEND_FINISHED,
    SenderEvent.CLOSE,
]


def sender_in(state: SenderState, event: SenderEvent) -> UploadSender:
    """A sender brought into `state`, with a ready open where the event would answer one."""
    first = event in FIRST
    untouched = first or event is SenderEvent.SEND_ASK
    empty = event is SenderEvent.SEND_METADATA_OF_EMPTY_FILE or (
        untouched and state is SenderState.FINISHING
    )
    abandon = (state, event) == (SenderState.START, SenderEvent.SEND_ABANDON) or (
        first and state is SenderState.ABANDONED
    )
    size = 0 if empty else SIZE
    sender = UploadSender(Metadata("a", size, can=CAN, upload=KEY, abandon=abandon))
    if abandon and first:
        sender.start()
    if state is SenderState.FAILED:
        SENDER_ACTS[SenderEvent.FATAL](sender)
    for act in SENDER_WAY:
        begun = sender.state in (SenderState.SENDING, SenderState.FINISHING)
        if begun and state is SenderState.ABANDONED:
            sender.receive_text(READY)
            sender.abandon()
        if sender.state is state:
            break
        if not (empty and act is SenderEvent.SEND_LAST_CHUNK):
            SENDER_ACTS[act](sender)
    asked = event in ANSWERS or (event is SenderEvent.SEND_ABANDON and not abandon)
    if asked and SenderEvent.READY in SENDER[state]:
        sender.receive_text(READY)
    assert sender.state is state
    return sender


def sender_facts(sender: UploadSender) -> list[object]:
    return [sender.state, sender.sent, list(sender._credits), sender.next_due()]


@pytest.mark.parametrize(("state", "event"), SENDER_STEPS, ids=name_of)
def test_the_sender_makes_each_step_of_its_table(state: SenderState, event: SenderEvent) -> None:
    sender = sender_in(state, event)
    SENDER_ACTS[event](sender)
    assert sender.state is SENDER[state][event]


@pytest.mark.parametrize(
    ("state", "event"),
    # A sender of an empty file is never in the state of sending data, and the first signal of the
    # server comes before `finished`.
    [
        pair
        for pair in SENDER_MISTAKES
        if pair != (SenderState.SENDING, SenderEvent.SEND_METADATA_OF_EMPTY_FILE)
        and not (pair[0] is SenderState.AWAIT_CLOSE and pair[1] in FIRST)
    ],
    ids=name_of,
)
def test_the_sender_refuses_any_other_step_and_is_as_before(
    state: SenderState, event: SenderEvent
) -> None:
    sender = sender_in(state, event)
    before = sender_facts(sender)
    with pytest.raises(family(event)):
        SENDER_ACTS[event](sender)
    assert sender_facts(sender) == before


@pytest.mark.parametrize(("state", "event"), SENDER_MISTAKES, ids=name_of)
def test_a_sender_step_outside_the_table_raises_by_who_made_it(
    state: SenderState, event: SenderEvent
) -> None:
    sender = sender_in(state, SenderEvent.SEND_CHUNK)
    with pytest.raises(family(event)):
        sender._step(event)
    assert sender.state is state


def test_the_tables_speak_of_every_state() -> None:
    assert set(RECEIVER) == set(ReceiverState)
    assert set(SENDER) == set(SenderState)


@pytest.mark.parametrize(
    ("states", "event"),
    [
        ([ReceiverState.VERIFYING], "SEND_CLOSE"),
        # A `close` may be on its way when the client sends `abandon`.
        ([SenderState.AWAIT_CLOSE, SenderState.ABANDONED], "CLOSE"),
    ],
    ids=str,
)
def test_close_has_its_place_after_finished(states: list[Enum], event: str) -> None:
    steps: list[tuple[Enum, Enum]] = [*RECEIVER_STEPS, *SENDER_STEPS]
    assert [pair[0] for pair in steps if pair[1].name == event] == states
