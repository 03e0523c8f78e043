"""The payload that is taken out of frames, and what the library gets of them."""

import itertools
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from attrs import frozen
from helpers.splitting import (
    KEYS,
    PLACES,
    PLENTY,
    cut,
    extracted,
    feed,
    for_library,
    frame,
    header,
    messages_of,
    parts_of,
    payload_frame,
    splitter_allowing,
)
from helpers.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from galileod.net import messages as net_messages
from galileod.net.frames import TEXT_LIMIT, FrameSplitter
from galileod.net.messages import BinaryMessage, Close, Unjudged


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


Shown = tuple[str, object]
"""What a peer has sent: a message, a Ping, a Close frame, or a violation and its close code."""


def shown_by_library(library: Connection) -> list[Shown]:
    """What it makes of the frames that it has received since the last call."""
    shown: list[Shown] = []
    for event in library.events():
        match event:
            case TextMessage() | BytesMessage() if not event.message_finished:
                PARTS.setdefault(library, []).append(event.data)
            case TextMessage():
                shown.append(("text", "".join([*PARTS.pop(library, []), event.data])))
            case BytesMessage():
                shown.append(("binary", b"".join([*PARTS.pop(library, []), event.data])))
            case Ping():
                shown.append(("ping", bytes(event.payload)))
            case CloseConnection():
                valid = library.state is ConnectionState.REMOTE_CLOSING
                shown.append(("close" if valid else "violation", int(event.code)))
    return shown


PARTS = WeakKeyDictionary[Connection, list[Any]]()
"""The parts of the message that is not complete."""


def shown_by_splitter(splitter: FrameSplitter, library: Connection) -> list[Shown]:
    """What the splitter, and the library for what is not plain, make of what was fed."""
    shown: list[Shown] = []
    while splitter.items:
        match splitter.items.popleft():
            case Unjudged(frames, ends):
                library.receive_data(frames)
                judged = shown_by_library(library)
                messages = [each for each in judged if each[0] in {"text", "binary"}]
                violations = judged[len(messages) :]
                assert len(messages) <= len(ends)
                assert violations or len(messages) == len(ends)
                for message, end in zip(messages, ends, strict=False):
                    assert message[0] == "text" if end is None else message == ("binary", b"")
                    shown.append(message if end is None else ("binary", b"".join(end.pieces)))
                shown += violations
                if violations:
                    break
            case BinaryMessage(pieces):
                shown.append(("binary", b"".join(pieces)))
            case str(text):
                shown.append(("text", text))
            case net_messages.Ping(payload):
                shown.append(("ping", payload))
            case Close(_, code):
                shown.append(("close", code))
    return shown


@given(st.lists(BINARIES | SOUND_TEXTS, max_size=5), PLACES)
def test_the_payload_of_binary_messages_is_taken_out_whole(
    sent: list[Sent], places: list[int]
) -> None:
    splitter = splitter_allowing(PLENTY)
    data = b"".join(frame for message in sent for frame in message.frames)
    assert feed(splitter, cut(data, places)) is None
    binaries = [b"".join(each.payloads) for each in sent if each.opcode == BINARY]
    assert not parts_of(splitter)
    found = messages_of(splitter)
    assert [b"".join(message.pieces) for message in found] == binaries
    assert [message.length for message in found] == [len(each) for each in binaries]


@settings(max_examples=300)
@given(st.lists(BINARIES | TEXTS, max_size=4), st.none() | BROKEN, st.integers(0, 20), PLACES)
@example([], header(BINARY, 3, masked=False) + b"abc", 0, [])
@example([], header(BINARY, 3, reserved=4) + b"abc", 0, [])
@example([], header(BINARY, 3, form=126) + b"abc", 0, [])
@example([], header(BINARY, 3, form=127) + b"abc", 0, [])
@example([], header(TEXT, 3, form=126) + b"abc", 0, [])
@example([], header(PING, 3, form=126) + b"abc", 0, [])
@example([], header(PING, 3, masked=False) + b"abc", 0, [])
@example([], header(CLOSE, 3, reserved=1) + b"abc", 0, [])
@example([], header(3, 3) + b"abc", 0, [])
@example([], frame(CONTINUATION, 3), 0, [])
@example([Sent(TEXT, [b"a"], [bytes(4)], [])], frame(CONTINUATION, 3), 1, [])
@example([Sent(TEXT, [b"a", b"b"], [bytes(4)], [])], frame(BINARY, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(BINARY, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(TEXT, 3), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], frame(PING, 126), 1, [])
@example([Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], header(PING, 0, final=False), 1, [])
@example(
    [Sent(BINARY, [b"a", b"b"], [bytes(4)], [])], header(CONTINUATION, 1, reserved=1) + b"b", 1, []
)
def test_splitter_and_library_show_what_the_library_alone_shows(
    sent: list[Sent], broken: bytes | None, at: int, places: list[int]
) -> None:
    frames = [frame for message in sent for frame in message.frames]
    if broken is not None:
        frames.insert(at % (len(frames) + 1), broken)
    data = b"".join(frames)
    alone, library = Connection(ConnectionType.SERVER), Connection(ConnectionType.SERVER)
    alone.receive_data(data)
    expected = shown_by_library(alone)
    splitter, shown = splitter_allowing(PLENTY), list[Shown]()
    for piece in cut(data, places):
        refused = feed(splitter, [piece])
        shown += shown_by_splitter(splitter, library)
        if refused or (shown and shown[-1][0] in {"close", "violation"}):
            break
    else:
        assert shown == expected
    # A frame out of turn may make too long a TEXT message of those behind it.
    assert shown == expected[: len(shown)]


@given(
    st.lists(
        st.builds(payload_frame, st.just(BINARY), PAYLOADS, key=KEYS)
        | st.builds(payload_frame, st.just(TEXT), SHORT_TEXT, key=KEYS)
        | CONTROLS,
        max_size=8,
    ),
    PLACES,
)
def test_what_is_plain_is_not_for_the_library(frames: list[bytes], places: list[int]) -> None:
    splitter = splitter_allowing(PLENTY)
    closing = payload_frame(CLOSE, b"\x03\xe8stored")
    ignored = payload_frame(BINARY, b"x") + b"\xff" * 20
    assert feed(splitter, cut(b"".join(frames) + closing + ignored, places)) is None
    assert not for_library(splitter)
    assert splitter.items[-1] == Close(b"\x03\xe8stored", 1000)


@pytest.mark.parametrize("reason", [b"", b"why", b"\xc3\xbc", b"\xc3"])
def test_a_close_frame_is_taken_if_the_library_would_take_it(reason: bytes) -> None:
    for code in [*range(980, 5020), *range(0, 1 << 16, 997)]:
        payload = payload_frame(CLOSE, code.to_bytes(2) + reason)
        library = Connection(ConnectionType.SERVER)
        library.receive_data(payload)
        splitter = splitter_allowing()
        assert feed(splitter, [payload]) is None
        taken = isinstance(splitter.items[0], Close)
        assert taken == (shown_by_library(library) == [("close", code)])


@pytest.mark.parametrize("length", [3, 126, 1000, TEXT_LIMIT])
def test_a_text_that_is_not_utf_8_is_passed_on_as_soon_as_that_is_certain(length: int) -> None:
    text = payload_frame(TEXT, b"\xffx" + b"x" * (length - 2))
    for end in range(len(text) - length + 2, len(text), 500):
        splitter = splitter_allowing()
        assert feed(splitter, [text[: end - 2], text[end - 2 : end]]) is None
        assert for_library(splitter) == text[:end]
        assert feed(splitter, [text[end:]]) is None
        assert for_library(splitter) == text


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
    assert feed(splitter, pieces) is None
    begins = [0, *ends[:-1]]
    assert [(each.first_byte, each.last_byte) for each in messages_of(splitter)] == [
        (when(begin + start), when(end))
        for begin, start, end in zip(begins, starts, ends, strict=True)
    ]


@given(KEYS, PAYLOADS, PLACES)
@example(b"abcd", b"0123456789", [7, 8, 8, 9, 13])
def test_masking_goes_on_across_any_cut(key: bytes, payload: bytes, places: list[int]) -> None:
    splitter = splitter_allowing(len(payload))
    assert feed(splitter, cut(payload_frame(BINARY, payload, key=key), places)) is None
    assert extracted(splitter) == payload
