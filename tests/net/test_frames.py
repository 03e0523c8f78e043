import itertools
from collections.abc import Sequence
from itertools import pairwise

import pytest
from attrs import frozen
from helpers.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event

from galileod.net.budget import DataBudget
from galileod.net.frames import (
    MAX_FRAGMENTS,
    PART,
    SMALL_PIECE,
    TEXT_LIMIT,
    FrameSplitter,
    FrameTooLarge,
    Unmask,
)

HEADER_LIMIT = 14

PLENTY = 1 << 30


def xor(data: bytes | memoryview, key: bytes) -> bytes:
    """Masking as the RFC has it, in plain Python."""
    length = len(data)
    keys = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data) ^ int.from_bytes(keys)).to_bytes(length)


def unmasked(data: memoryview, key: bytes) -> bytes:
    """No masking at all, for messages too long for plain Python."""
    assert key == bytes(4)
    return bytes(data)


def header(
    opcode: int,
    length: int,
    *,
    final: bool = True,
    masked: bool = True,
    key: bytes = b"\xff\xfe\xfd\xfc",
    form: int = 0,
    reserved: int = 0,
) -> bytes:
    """A frame's header; the length in the shortest form, or in one of 126 or 127."""
    mask = 0x80 if masked else 0
    start = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    tail = key if masked else b""
    if length < 126 and not form:
        return start + bytes([mask | length]) + tail
    if length < 1 << 16 and form != 127:
        return start + bytes([mask | 126]) + length.to_bytes(2) + tail
    return start + bytes([mask | 127]) + length.to_bytes(8) + tail


def frame(opcode: int, length: int, *, final: bool = True, masked: bool = True) -> bytes:
    return header(opcode, length, final=final, masked=masked) + b"\x81" * length


def payload_frame(
    opcode: int, payload: bytes, *, final: bool = True, key: bytes = b"\x01\x02\x03\x04"
) -> bytes:
    return header(opcode, len(payload), final=final, key=key) + xor(payload, key)


Verdict = tuple[bool, int, bytes]
"""Of which kind, how long, and what the library saw of the frames before it."""


def walk(splitter: FrameSplitter, pieces: Sequence[bytes]) -> tuple[bytes, FrameTooLarge | None]:
    """What the library sees of the pieces, and the refusal that ended it."""
    seen = b""
    for now, piece in enumerate(pieces):
        try:
            passed, walked = splitter.feed(piece, float(now), PLENTY)
        except FrameTooLarge as refused:
            return seen + refused.clean, refused
        assert walked == len(piece)
        seen += passed
        assert len(splitter._header) <= HEADER_LIMIT
    return seen, None


def judge(splitter: FrameSplitter, pieces: Sequence[bytes]) -> Verdict | None:
    seen, refused = walk(splitter, pieces)
    return (refused.text, refused.length, seen) if refused else None


def splitter_allowing(*lengths: int, unmask: Unmask = xor) -> FrameSplitter:
    budget = DataBudget()
    budget.promise(sum(lengths), max(lengths, default=0))
    return FrameSplitter(unmask, budget)


def taken_out(splitter: FrameSplitter) -> bytes:
    """All that was taken out, of any message."""
    pieces = [piece for part in splitter.parts for piece in part.pieces]
    pieces += [piece for message in splitter.messages for piece in message.pieces]
    return b"".join(pieces)


FRAMES = st.lists(
    st.builds(
        frame,
        st.sampled_from([CONTINUATION, TEXT, BINARY, BINARY, CLOSE, PING]),
        st.integers(0, 130) | st.sampled_from([125, 126, 127, 1000, 40_000, 70_000]),
        final=st.booleans(),
        masked=st.booleans(),
    ),
    max_size=6,
)
ALLOWED = st.lists(st.integers(0, 2000) | st.just(80_000), max_size=4)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)
KEYS = st.binary(min_size=4, max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


# What is refused.


@given(FRAMES, ALLOWED, PLACES)
def test_frames_cut_anywhere_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int], places: list[int]
) -> None:
    data = b"".join(frames)
    whole = judge(splitter_allowing(*allowed), [data])
    parts = judge(splitter_allowing(*allowed), cut(data, places))
    assert parts == whole


@given(FRAMES, ALLOWED)
def test_frames_fed_byte_by_byte_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int]
) -> None:
    data = b"".join(frames)[:5000]
    whole, single = splitter_allowing(*allowed), splitter_allowing(*allowed)
    assert judge(whole, [data]) == judge(single, [data[i : i + 1] for i in range(len(data))])
    assert taken_out(whole) == taken_out(single)


@given(st.lists(st.binary(max_size=200), max_size=5), ALLOWED)
def test_any_bytes_are_walked_or_refused(pieces: list[bytes], allowed: list[int]) -> None:
    verdict = judge(splitter_allowing(*allowed), pieces)
    if verdict is not None:
        text, length, seen = verdict
        assert length > (TEXT_LIMIT if text else 0)
        assert len(seen) <= sum(map(len, pieces))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40, (1 << 64) - 1])
def test_a_binary_message_that_nobody_allowed_is_refused_by_its_header(
    length: int, *, masked: bool
) -> None:
    verdict = judge(splitter_allowing(), [header(BINARY, length, masked=masked)])
    assert verdict == (False, length, b"")


@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40])
def test_a_binary_message_may_hold_what_was_allowed_and_no_more(length: int) -> None:
    assert judge(splitter_allowing(length), [header(BINARY, length)]) is None
    refused = judge(splitter_allowing(length), [header(BINARY, length + 1)])
    assert refused == (False, length + 1, b"")


def test_an_empty_binary_message_needs_no_leave() -> None:
    splitter = splitter_allowing()
    assert judge(splitter, [frame(BINARY, 0) * 3]) is None
    assert [(message.pieces, message.length) for message in splitter.messages] == [([], 0)] * 3


def test_each_binary_message_uses_up_what_was_allowed() -> None:
    good = frame(BINARY, 10) * 2
    refused = judge(splitter_allowing(10, 10), [good + frame(BINARY, 1)])
    assert refused == (False, 1, header(BINARY, 0) * 2)


def test_one_binary_message_may_not_hold_what_was_allowed_to_two() -> None:
    assert judge(splitter_allowing(10, 10), [frame(BINARY, 11)]) == (False, 11, b"")


def test_what_a_message_leaves_over_may_be_used_by_the_next() -> None:
    splitter = splitter_allowing(10, 5)
    assert judge(splitter, [frame(BINARY, 6) + frame(BINARY, 9)]) is None
    assert judge(splitter, [frame(BINARY, 1)]) == (False, 1, b"")


def test_leave_may_be_given_between_two_messages() -> None:
    splitter = splitter_allowing(10)
    assert judge(splitter, [frame(BINARY, 10)]) is None
    splitter.budget.promise(30, 20)
    assert judge(splitter, [frame(BINARY, 20)]) is None


def test_the_frames_of_a_binary_message_are_added_up() -> None:
    start = frame(BINARY, 6, final=False)
    assert judge(splitter_allowing(10), [start + frame(CONTINUATION, 4)]) is None
    refused = judge(splitter_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11, header(BINARY, 0, final=False))


def test_a_text_message_may_hold_so_much_and_no_more() -> None:
    assert judge(splitter_allowing(), [frame(TEXT, TEXT_LIMIT) * 2]) is None
    refused = judge(splitter_allowing(), [header(TEXT, TEXT_LIMIT + 1)])
    assert refused == (True, TEXT_LIMIT + 1, b"")


def test_leave_for_binary_messages_is_none_for_text() -> None:
    splitter = splitter_allowing(1 << 30)
    assert judge(splitter, [header(TEXT, TEXT_LIMIT + 1)]) == (True, TEXT_LIMIT + 1, b"")


def test_the_frames_of_a_text_message_are_added_up() -> None:
    start = frame(TEXT, TEXT_LIMIT, final=False)
    assert judge(splitter_allowing(), [start + frame(CONTINUATION, 0)]) is None
    refused = judge(splitter_allowing(), [start + frame(CONTINUATION, 1)])
    assert refused == (True, TEXT_LIMIT + 1, start)


def test_a_control_frame_between_two_frames_of_a_message_does_not_count() -> None:
    start = frame(BINARY, 6, final=False) + frame(PING, 100)
    good = [start + frame(CONTINUATION, 4) + frame(CLOSE, 2)]
    assert judge(splitter_allowing(10), good) is None
    refused = judge(splitter_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11, header(BINARY, 0, final=False) + frame(PING, 100))


def test_a_continuation_of_nothing_counts_as_binary() -> None:
    assert judge(splitter_allowing(), [frame(CONTINUATION, 1)]) == (False, 1, b"")


def test_what_stands_before_the_refused_frame_is_clean() -> None:
    good = frame(TEXT, 5) + frame(PING, 3)
    assert judge(splitter_allowing(), [good + frame(BINARY, 1)]) == (False, 1, good)


def test_nothing_is_clean_where_the_header_began_in_an_earlier_piece() -> None:
    splitter = splitter_allowing()
    data = header(BINARY, 1000)
    assert splitter.feed(data[:3], 0.0, PLENTY) == (b"", 3)
    with pytest.raises(FrameTooLarge) as caught:
        splitter.feed(data[3:], 1.0, PLENTY)
    assert caught.value.clean == b""


def test_messages_before_the_refused_one_can_still_be_taken() -> None:
    splitter = splitter_allowing(5)
    assert judge(splitter, [payload_frame(BINARY, b"hello") + header(BINARY, 1)]) is not None
    (message,) = splitter.messages
    assert (message.pieces, message.length) == ([b"hello"], 5)


@pytest.mark.parametrize(
    ("opcode", "sentence"),
    [(BINARY, "a binary message of 99999 bytes"), (TEXT, "a text message of 99999 bytes")],
)
def test_the_refusal_says_what_was_announced(opcode: int, sentence: str) -> None:
    with pytest.raises(FrameTooLarge, match=f"^{sentence}$"):
        splitter_allowing().feed(header(opcode, 99_999), 0.0, PLENTY)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_in_too_many_fragments_is_refused_even_if_they_are_empty(opcode: int) -> None:
    splitter = splitter_allowing(1000)
    start = frame(opcode, 0, final=False)
    more = frame(CONTINUATION, 0, final=False) * (MAX_FRAGMENTS - 1)
    assert judge(splitter, [start + more]) is None
    assert judge(splitter, [frame(CONTINUATION, 0)]) == (opcode == TEXT, 0, b"")


@given(st.integers(1, 20), st.integers(0, 30))
def test_the_splitter_stops_behind_as_many_frames_as_it_is_told(frames: int, there: int) -> None:
    pong = header(PONG, 1) + b"x"
    count = min(frames, there)
    assert splitter_allowing().feed(pong * there, 0.0, frames) == (pong * count, len(pong) * count)
    splitter = splitter_allowing(100)
    data = payload_frame(BINARY, b"abc")
    seen = header(BINARY, 0, key=b"\x01\x02\x03\x04") * count
    assert splitter.feed(data * there, 0.0, frames) == (seen, len(data) * count)
    assert len(splitter.messages) == count


# What is taken out, and what the library sees.


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
    # What comes behind a broken frame is walked all the same, and never shown.
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
    assert taken_out(splitter) == payload


# How much is held in how many pieces.


@pytest.mark.parametrize("length", [1, SMALL_PIECE - 1, SMALL_PIECE, 5 * SMALL_PIECE + 3])
def test_a_message_that_trickles_in_is_held_in_few_pieces(length: int) -> None:
    splitter = splitter_allowing(length, unmask=unmasked)
    data = header(BINARY, length, key=bytes(4)) + bytes(length)
    for byte in data:
        splitter.feed(bytes([byte]), 0.0, PLENTY)
    (message,) = splitter.messages
    assert len(message.pieces) <= length / SMALL_PIECE + 2
    assert sum(map(len, message.pieces)) == length


@given(st.lists(st.integers(1, 3 * SMALL_PIECE), min_size=1, max_size=60))
def test_pieces_of_any_size_are_joined_where_they_are_small(sizes: list[int]) -> None:
    length = sum(sizes)
    splitter = splitter_allowing(length, unmask=unmasked)
    splitter.feed(header(BINARY, length, key=bytes(4)), 0.0, PLENTY)
    for size in sizes:
        splitter.feed(bytes(size), 0.0, PLENTY)
    (message,) = splitter.messages
    assert len(message.pieces) <= length / SMALL_PIECE + 2
    assert sum(map(len, message.pieces)) == length


@pytest.mark.parametrize("step", [100_000, PART // 4, PART - 1, PART, 3 * PART])
@pytest.mark.parametrize("length", [PART, 4 * PART, 4 * PART + 1, 9 * PART // 2])
def test_a_long_message_comes_in_parts(step: int, length: int) -> None:
    splitter = splitter_allowing(length, unmask=unmasked)
    data = header(BINARY, length, key=bytes(4)) + bytes(length)
    for start in range(0, len(data), step):
        splitter.feed(data[start : start + step], 0.0, PLENTY)
    parts = [sum(map(len, part.pieces)) for part in splitter.parts]
    (message,) = splitter.messages
    rest = sum(map(len, message.pieces))
    assert sum(parts) + rest == message.length == length
    assert all(PART <= part < PART + step for part in parts)
    assert rest < PART + step


def test_a_part_is_there_as_soon_as_it_is_large_enough() -> None:
    splitter = splitter_allowing(2 * PART, unmask=unmasked)
    splitter.feed(header(BINARY, 2 * PART, key=bytes(4)) + bytes(PART - 1), 0.0, PLENTY)
    assert not splitter.parts
    splitter.feed(bytes(1), 0.0, PLENTY)
    assert len(splitter.parts) == 1
    splitter.feed(bytes(PART), 0.0, PLENTY)
    assert len(splitter.parts) == 1
    assert len(splitter.messages) == 1


def test_a_long_message_in_short_frames_comes_in_parts() -> None:
    splitter, size = splitter_allowing(4 * PART, unmask=unmasked), 64 * 1024
    frames = 4 * PART // size
    for number in range(frames):
        opcode = CONTINUATION if number else BINARY
        head = header(opcode, size, final=number == frames - 1, key=bytes(4))
        splitter.feed(head + bytes(size), 0.0, PLENTY)
        assert splitter._gathered < PART + size
    assert len(splitter.parts) >= 3
    assert splitter.messages[0].length == 4 * PART


def test_a_large_message_may_come_in_small_frames() -> None:
    splitter = splitter_allowing(8 << 20)
    start, more = frame(BINARY, 1024, final=False), frame(CONTINUATION, 1024, final=False)
    splitter.feed(start + more * 8000, 0.0, 1 << 62)
    assert splitter.due == (8 << 20) - 8001 * 1024


def test_what_is_due_is_what_was_allowed_and_has_not_come() -> None:
    splitter = splitter_allowing(1000, 500)
    assert splitter.due == 1500
    splitter.feed(header(BINARY, 800) + b"x" * 300, 0.0, 1 << 62)
    assert splitter.due == 1200
    splitter.feed(b"x" * 500, 0.0, 1 << 62)
    assert splitter.due == 700
