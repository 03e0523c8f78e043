"""The payload that is taken out of frames, and what the library gets of them."""

import itertools

from attrs import frozen
from helpers.splitting import (
    KEYS,
    PLACES,
    PLENTY,
    cut,
    extracted,
    frame,
    header,
    payload_frame,
    splitter_allowing,
    walk,
)
from helpers.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event


@frozen
class Sent:
    """A message, its payload in frames, and the control frames before each of them."""

    opcode: int
    payloads: list[bytes]
    keys: list[bytes]
    controls: list[bytes]

    @property
    def frames(self) -> list[bytes]:
        """As a client sends it."""
        frames = []
        for number, payload in enumerate(self.payloads):
            frames += [self.controls[number]] if number < len(self.controls) else []
            final = number == len(self.payloads) - 1
            opcode = CONTINUATION if number else self.opcode
            key = self.keys[number % len(self.keys)]
            frames.append(payload_frame(opcode, payload, final=final, key=key))
        return frames


CONTROLS = st.builds(
    payload_frame, st.sampled_from([PING, PONG]), st.binary(max_size=125), key=KEYS
)


class Run(bytes):
    """Many bytes, in few words where a test fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"run({len(self)})"


def run(length: int) -> Run:
    return Run((bytes(range(251)) * (length // 251 + 1))[:length])


PAYLOADS = st.binary(max_size=40) | st.sampled_from([126, 1000, 40_000, 70_000]).map(run)
SHORT_TEXT = st.text(max_size=30).map(str.encode)


def messages(opcode: int, payloads: st.SearchStrategy[list[bytes]]) -> st.SearchStrategy[Sent]:
    return st.builds(
        Sent,
        st.just(opcode),
        payloads,
        st.lists(KEYS, min_size=1, max_size=3),
        st.lists(CONTROLS, max_size=2),
    )


BINARIES = messages(BINARY, st.lists(PAYLOADS, min_size=1, max_size=4))


TEXTS = messages(
    TEXT,
    # Cut anywhere, even within a character.
    st.tuples(SHORT_TEXT, PLACES).map(lambda both: cut(*both))
    # Or not UTF-8 at all.
    | st.lists(st.binary(max_size=5), min_size=1, max_size=2),
)


SOUND_TEXTS = messages(TEXT, st.tuples(SHORT_TEXT, PLACES).map(lambda both: cut(*both)))


CLOSES = st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8so long", b"\x12\x67", b"\x03\xe7", b"x"])


BROKEN = st.one_of(
    st.builds(frame, st.sampled_from([TEXT, BINARY, CONTINUATION, PING]), st.integers(0, 9)),
    st.builds(
        lambda head, length: head + bytes(length),
        st.builds(
            header,
            st.integers(0, 15),
            st.just(3),
            final=st.booleans(),
            masked=st.booleans(),
            form=st.sampled_from([0, 126, 127]),
            reserved=st.integers(0, 7),
        ),
        st.just(3),
    ),
    st.builds(frame, st.sampled_from([CLOSE, PING, PONG]), st.integers(126, 200)),
    st.builds(payload_frame, st.just(CLOSE), CLOSES, key=KEYS),
)
"""Frames that break a rule anywhere, or where they come out of turn; and the end."""


def events(data: bytes) -> tuple[list[Event], ConnectionState]:
    """What the library makes of it; without a BINARY frame that has not come to its end."""
    library = Connection(ConnectionType.SERVER)
    library.receive_data(data)
    shown = [
        event
        for event in library.events()
        if not isinstance(event, BytesMessage) or event.frame_finished
    ]
    return shown, library.state


def emptied(event: Event) -> Event:
    if isinstance(event, BytesMessage):
        return BytesMessage(b"", event.frame_finished, event.message_finished)
    return event


@given(st.lists(BINARIES | SOUND_TEXTS, max_size=5), PLACES)
def test_the_payload_of_binary_messages_is_taken_out_whole(
    sent: list[Sent], places: list[int]
) -> None:
    splitter = splitter_allowing(PLENTY)
    data = b"".join(frame for message in sent for frame in message.frames)
    _, refused = walk(splitter, cut(data, places))
    assert refused is None
    binaries = [b"".join(each.payloads) for each in sent if each.opcode == BINARY]
    assert not splitter.parts
    assert [b"".join(message.pieces) for message in splitter.messages] == binaries
    assert [message.length for message in splitter.messages] == [len(each) for each in binaries]


@settings(max_examples=150)
@given(st.lists(BINARIES | TEXTS, max_size=4), st.none() | BROKEN, st.integers(0, 20), PLACES)
@example([], header(BINARY, 3, masked=False) + b"abc", 0, [])
@example([], header(BINARY, 3, reserved=4) + b"abc", 0, [])
@example([], header(BINARY, 3, form=126) + b"abc", 0, [])
@example([], header(BINARY, 3, form=127) + b"abc", 0, [])
@example([], header(3, 3) + b"abc", 0, [])
@example([], frame(CONTINUATION, 3), 0, [])
@example([Sent(TEXT, [b"a", b"b"], [bytes(4)], [])], frame(BINARY, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(BINARY, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(TEXT, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(PING, 126), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], header(PING, 0, final=False), 1, [])
@example(
    [Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], header(CONTINUATION, 1, reserved=1) + b"b", 1, []
)
def test_the_library_sees_all_but_the_payload_of_binary_messages(
    sent: list[Sent], broken: bytes | None, at: int, places: list[int]
) -> None:
    frames = [frame for message in sent for frame in message.frames]
    if broken is not None:
        frames.insert(at % (len(frames) + 1), broken)
    data = b"".join(frames)
    splitter = splitter_allowing(PLENTY)
    seen, refused = walk(splitter, cut(data, places))
    # A frame out of turn may make too long a TEXT message of those behind it.
    assert refused is None or broken is not None
    shown, state = events(seen)
    expected, expected_state = events(data)
    assert shown == [emptied(event) for event in expected]
    assert state is expected_state
    finished = [
        event for event in expected if isinstance(event, BytesMessage) and event.message_finished
    ]
    # What comes behind a broken frame is parsed all the same, and never shown.
    assert len(splitter.messages) >= len(finished)
    if broken is None and not any(isinstance(event, CloseConnection) for event in expected):
        assert len(splitter.messages) == len(finished)


@settings(max_examples=100)
@given(st.lists(BINARIES | TEXTS, max_size=4), st.none() | BROKEN, st.integers(0, 20), PLACES)
def test_each_message_is_there_when_the_library_shows_it(
    sent: list[Sent], broken: bytes | None, at: int, places: list[int]
) -> None:
    frames = [frame for message in sent for frame in message.frames]
    if broken is not None:
        frames.insert(at % (len(frames) + 1), broken)
    splitter, library = splitter_allowing(PLENTY), Connection(ConnectionType.SERVER)
    data, got = b"".join(frames), b""
    shown, _ = events(data)
    expected = b"".join(event.data for event in shown if isinstance(event, BytesMessage))
    for piece in cut(data, places):
        seen, refused = walk(splitter, [piece])
        library.receive_data(seen)
        for event in library.events():
            if isinstance(event, BytesMessage) and event.message_finished:
                got += b"".join(splitter.messages.popleft().pieces)
        if refused or library.state is not ConnectionState.OPEN:
            break
    assert expected.startswith(got)
    if broken is None and not any(isinstance(event, CloseConnection) for event in shown):
        assert not splitter.messages


@given(st.lists(BINARIES, min_size=1, max_size=3), PLACES)
def test_times_are_those_of_the_first_header_and_of_the_last_byte(
    sent: list[Sent], places: list[int]
) -> None:
    frames = [[len(each) for each in message.frames] for message in sent]
    starts = [
        len(header(BINARY, len(message.payloads[0]))) + len(b"".join(message.controls[:1]))
        for message in sent
    ]
    ends = list(itertools.accumulate(map(sum, frames)))
    pieces = cut(b"".join(frame for message in sent for frame in message.frames), places)
    arrived = list(itertools.accumulate(map(len, pieces)))

    def when(position: int) -> float:
        """The number of the piece that has the last of so many bytes."""
        return float(next(now for now, end in enumerate(arrived) if end >= position))

    splitter = splitter_allowing(PLENTY)
    assert walk(splitter, pieces)[1] is None
    begins = [0, *ends[:-1]]
    assert [(each.first_byte, each.last_byte) for each in splitter.messages] == [
        (when(begin + start), when(end))
        for begin, start, end in zip(begins, starts, ends, strict=True)
    ]


@given(KEYS, PAYLOADS, PLACES)
@example(b"abcd", b"0123456789", [7, 8, 8, 9, 13])
def test_masking_goes_on_across_any_cut(key: bytes, payload: bytes, places: list[int]) -> None:
    splitter = splitter_allowing(len(payload))
    assert walk(splitter, cut(payload_frame(BINARY, payload, key=key), places))[1] is None
    assert extracted(splitter) == payload
