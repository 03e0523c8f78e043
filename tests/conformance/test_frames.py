from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from galileod.conformance.events import Close, Message, Ping, Pong, Violation
from galileod.conformance.frames import (
    MAX_MESSAGE,
    MAX_VIOLATIONS,
    Decoder,
    Received,
    apply_mask,
    encode,
)

MASK = b"\x01\x02\x03\x04"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = None
) -> bytes:
    return encode(opcode, payload, fin=fin, rsv=rsv, mask=mask)


def decode(*pieces: bytes, masked: bool = False) -> list[Received]:
    decoder = Decoder(masked=masked)
    return [event for piece in pieces for _, event in decoder.feed(piece) if event is not None]


def violation(*pieces: bytes, masked: bool = False) -> Iterator[str]:
    for event in decode(*pieces, masked=masked):
        if isinstance(event, Violation):
            yield event.sentence


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_undone_by_masking(data: bytes, mask: bytes) -> None:
    assert apply_mask(apply_mask(data, mask), mask) == data
    assert apply_mask(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data))


PAYLOADS = st.one_of(
    st.binary(max_size=300), st.sampled_from([125, 126, 65_535, 65_536]).map(lambda n: b"x" * n)
)
MESSAGES = st.lists(
    st.one_of(
        PAYLOADS.map(lambda data: Message(Opcode.BINARY, data)),
        st.text(max_size=50).map(lambda text: Message(Opcode.TEXT, text.encode())),
        st.binary(max_size=125).map(Ping),
        st.binary(max_size=125).map(Pong),
    ),
    max_size=6,
)


def to_bytes(message: Message | Ping | Pong, mask: bytes | None) -> bytes:
    match message:
        case Message(opcode, data):
            return frame(opcode, data, mask=mask)
        case Ping(data):
            return frame(Opcode.PING, data, mask=mask)
        case Pong(data):
            return frame(Opcode.PONG, data, mask=mask)


@given(MESSAGES, st.sampled_from([None, MASK]), st.data())
def test_what_was_encoded_is_decoded_however_the_bytes_are_split(
    messages: list[Message | Ping | Pong], mask: bytes | None, data: st.DataObject
) -> None:
    stream = b"".join(to_bytes(message, mask) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends = [*cuts, len(stream)]
    pieces = [stream[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
    assert decode(*pieces, masked=mask is not None) == messages


@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_make_the_decoder_raise(data: bytes, masked: bool) -> None:
    assert decode(data, masked=masked) == decode(
        *(data[i : i + 1] for i in range(len(data))), masked=masked
    )


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=5))
def test_fragments_become_one_message_with_control_frames_between_them(parts: list[bytes]) -> None:
    pieces = [frame(Opcode.BINARY, parts[0], fin=False)]
    for part in parts[1:-1]:
        pieces += [frame(Opcode.PING, b"p"), frame(Opcode.CONT, part, fin=False)]
    pieces.append(frame(Opcode.CONT, parts[-1]))
    events = decode(b"".join(pieces))
    assert events == [Ping(b"p")] * (len(parts) - 2) + [Message(Opcode.BINARY, b"".join(parts))]


@pytest.mark.parametrize(
    ("data", "masked", "sentence"),
    [
        (frame(Opcode.TEXT, b"a"), True, "came unmasked: TEXT"),
        (frame(Opcode.TEXT, b"a", mask=MASK), False, "came masked: TEXT"),
        (frame(Opcode.TEXT, b"a", rsv=4), False, "reserved bits 100"),
        (frame(Opcode.PING, b"a", fin=False), False, "fragmented control frame"),
        (frame(Opcode.PING, bytes(126)), False, "control frame of 126 bytes"),
        (frame(3), False, "reserved opcode 3"),
        (frame(15), False, "reserved opcode 15"),
        (frame(Opcode.CONT, b"a"), False, "no message was begun"),
        (frame(Opcode.TEXT, b"a", fin=False) * 2, False, "before the last one had ended"),
        (frame(Opcode.TEXT, b"\xff"), False, "not UTF-8"),
        (frame(Opcode.CLOSE, b"\x03"), False, "Close frame of one byte"),
        (frame(Opcode.CLOSE, b"\x03\xed"), False, "the code 1005"),
        (frame(Opcode.CLOSE, b"\x03\xe8\xff"), False, "reason that is not UTF-8"),
        (b"\x82\x7e\x00\x01a", False, "not in the shortest form"),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a", False, "not in the shortest form"),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", False, "more than"),
    ],
)
def test_what_rfc_6455_forbids_is_named(data: bytes, masked: bool, sentence: str) -> None:
    [found] = violation(data, masked=masked)
    assert sentence in found


def test_the_frame_behind_a_violation_is_still_decoded() -> None:
    assert decode(frame(Opcode.TEXT, b"a", mask=MASK), frame(Opcode.BINARY, b"b"))[1:] == [
        Message(Opcode.TEXT, b"a"),
        Message(Opcode.BINARY, b"b"),
    ]


@pytest.mark.parametrize(
    ("payload", "close"),
    [
        (b"", Close(None, "")),
        (b"\x03\xe8", Close(1000, "")),
        (b"\x0f\xa0why", Close(4000, "why")),
    ],
)
def test_a_close_frame_has_a_code_and_a_reason(payload: bytes, close: Close) -> None:
    assert decode(frame(Opcode.CLOSE, payload)) == [close]


def test_fragments_that_add_up_to_too_much_are_refused() -> None:
    half = frame(Opcode.BINARY, bytes(MAX_MESSAGE // 2), fin=False)
    rest = b"\x80\x7f" + (MAX_MESSAGE // 2 + 1).to_bytes(8)
    [found] = violation(half, rest, frame(Opcode.TEXT, b"dropped"))
    assert found == f"a message of more than {MAX_MESSAGE} bytes came"


def test_after_many_violations_everything_is_dropped() -> None:
    decoder = Decoder(masked=False)
    events = [event for _, event in decoder.feed(bytes(100_000)) if event is not None]
    assert len(events) == MAX_VIOLATIONS + 1
    assert list(decoder.feed(frame(Opcode.TEXT, b"dropped"))) == []
