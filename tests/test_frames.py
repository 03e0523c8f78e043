from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.frames import TEXT_LIMIT, FrameScanner, FrameTooLarge

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9

FRAME_HEADER_LIMIT = 14


def header(opcode: int, length: int, *, final: bool = True, masked: bool = True) -> bytes:
    """A frame's header, with the shortest form of the length."""
    mask = 0x80 if masked else 0
    start = bytes([(0x80 if final else 0) | opcode])
    key = b"\xff\xfe\xfd\xfc" if masked else b""
    if length < 126:
        return start + bytes([mask | length]) + key
    if length < 1 << 16:
        return start + bytes([mask | 126]) + length.to_bytes(2) + key
    return start + bytes([mask | 127]) + length.to_bytes(8) + key


def frame(opcode: int, length: int, *, final: bool = True, masked: bool = True) -> bytes:
    return header(opcode, length, final=final, masked=masked) + b"\x81" * length


Verdict = tuple[bool, int, int]
"""Of which kind, how long, and where the frame begins."""


def scan(scanner: FrameScanner, pieces: list[bytes]) -> Verdict | None:
    """What is said of the pieces; where the frame began before the last one, that one's start."""
    fed = 0
    for piece in pieces:
        try:
            scanner.feed(piece)
        except FrameTooLarge as refused:
            return refused.text, refused.length, fed + refused.clean
        fed += len(piece)
        assert len(scanner._header) < FRAME_HEADER_LIMIT
    return None


def scanner_allowing(*lengths: int) -> FrameScanner:
    scanner = FrameScanner()
    for length in lengths:
        scanner.allow(length)
    return scanner


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


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(deadline=None)
@given(FRAMES, ALLOWED, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_frames_cut_anywhere_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int], places: list[int]
) -> None:
    data = b"".join(frames)
    pieces = cut(data, places)
    whole = scan(scanner_allowing(*allowed), [data])
    parts = scan(scanner_allowing(*allowed), pieces)
    if whole is None or parts is None:
        assert whole is parts is None
        return
    assert parts[:2] == whole[:2]
    starts = [sum(map(len, pieces[:number])) for number in range(len(pieces))]
    # What stands before the frame is passed on; what came in earlier pieces has been already.
    assert whole[2] <= parts[2]
    assert parts[2] == whole[2] or parts[2] in starts


@settings(deadline=None)
@given(FRAMES, ALLOWED)
def test_frames_fed_byte_by_byte_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int]
) -> None:
    data = b"".join(frames)[:5000]
    whole = scan(scanner_allowing(*allowed), [data])
    parts = scan(scanner_allowing(*allowed), [data[i : i + 1] for i in range(len(data))])
    assert (whole and whole[:2]) == (parts and parts[:2])


@given(st.lists(st.binary(max_size=200), max_size=5), ALLOWED)
def test_any_bytes_are_walked_or_refused(pieces: list[bytes], allowed: list[int]) -> None:
    verdict = scan(scanner_allowing(*allowed), pieces)
    if verdict is not None:
        text, length, _ = verdict
        assert length > (TEXT_LIMIT if text else 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_walked(kind: type[bytes]) -> None:
    scanner = scanner_allowing(3)
    scanner.feed(kind(frame(BINARY, 3)))
    with pytest.raises(FrameTooLarge):
        scanner.feed(kind(frame(BINARY, 1)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40, (1 << 64) - 1])
def test_a_binary_message_that_nobody_allowed_is_refused_by_its_header(
    length: int, *, masked: bool
) -> None:
    verdict = scan(FrameScanner(), [header(BINARY, length, masked=masked)])
    assert verdict == (False, length, 0)


@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40])
def test_a_binary_message_may_hold_what_was_allowed_and_no_more(length: int) -> None:
    assert scan(scanner_allowing(length), [header(BINARY, length)]) is None
    refused = scan(scanner_allowing(length), [header(BINARY, length + 1)])
    assert refused == (False, length + 1, 0)


def test_an_empty_binary_message_needs_no_leave() -> None:
    assert scan(FrameScanner(), [frame(BINARY, 0) * 3]) is None


def test_each_binary_message_uses_up_what_was_allowed() -> None:
    good = frame(BINARY, 10) * 2
    assert scan(scanner_allowing(10, 10), [good + frame(BINARY, 1)]) == (False, 1, len(good))


def test_one_binary_message_may_not_hold_what_was_allowed_to_two() -> None:
    assert scan(scanner_allowing(10, 10), [frame(BINARY, 11)]) == (False, 11, 0)


def test_what_a_message_leaves_over_may_be_used_by_the_next() -> None:
    scanner = scanner_allowing(10, 5)
    assert scan(scanner, [frame(BINARY, 6) + frame(BINARY, 9)]) is None
    assert scan(scanner, [frame(BINARY, 1)]) == (False, 1, 0)


def test_leave_may_be_given_between_two_messages() -> None:
    scanner = scanner_allowing(10)
    assert scan(scanner, [frame(BINARY, 10)]) is None
    scanner.allow(20)
    assert scan(scanner, [frame(BINARY, 20)]) is None


def test_the_frames_of_a_binary_message_are_added_up() -> None:
    start = frame(BINARY, 6, final=False)
    assert scan(scanner_allowing(10), [start + frame(CONTINUATION, 4)]) is None
    refused = scan(scanner_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11, len(start))


def test_a_text_message_may_hold_so_much_and_no_more() -> None:
    assert scan(FrameScanner(), [frame(TEXT, TEXT_LIMIT) * 2]) is None
    assert scan(FrameScanner(), [header(TEXT, TEXT_LIMIT + 1)]) == (True, TEXT_LIMIT + 1, 0)


def test_leave_for_binary_messages_is_none_for_text() -> None:
    scanner = scanner_allowing(1 << 30)
    assert scan(scanner, [header(TEXT, TEXT_LIMIT + 1)]) == (True, TEXT_LIMIT + 1, 0)


def test_the_frames_of_a_text_message_are_added_up() -> None:
    start = frame(TEXT, TEXT_LIMIT, final=False)
    assert scan(FrameScanner(), [start + frame(CONTINUATION, 0)]) is None
    refused = scan(FrameScanner(), [start + frame(CONTINUATION, 1)])
    assert refused == (True, TEXT_LIMIT + 1, len(start))


def test_a_control_frame_between_two_frames_of_a_message_does_not_count() -> None:
    start = frame(BINARY, 6, final=False) + frame(PING, 100)
    assert scan(scanner_allowing(10), [start + frame(CONTINUATION, 4) + frame(CLOSE, 2)]) is None
    refused = scan(scanner_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11, len(start))


def test_a_continuation_of_nothing_counts_as_binary() -> None:
    assert scan(FrameScanner(), [frame(CONTINUATION, 1)]) == (False, 1, 0)


def test_what_stands_before_the_refused_frame_is_clean() -> None:
    good = frame(TEXT, 5) + frame(PING, 3)
    assert scan(FrameScanner(), [good + frame(BINARY, 1)]) == (False, 1, len(good))


def test_nothing_is_clean_where_the_header_began_in_an_earlier_piece() -> None:
    scanner = FrameScanner()
    data = header(BINARY, 1000)
    scanner.feed(data[:3])
    with pytest.raises(FrameTooLarge) as caught:
        scanner.feed(data[3:])
    assert caught.value.clean == 0


@pytest.mark.parametrize(
    ("opcode", "sentence"),
    [(BINARY, "a binary message of 99999 bytes"), (TEXT, "a text message of 99999 bytes")],
)
def test_the_refusal_says_what_was_announced(opcode: int, sentence: str) -> None:
    with pytest.raises(FrameTooLarge, match=f"^{sentence}$"):
        FrameScanner().feed(header(opcode, 99_999))


def test_a_message_in_too_many_fragments_is_refused_even_if_they_are_empty() -> None:
    scanner = FrameScanner()
    scanner.allow(1000)
    scanner.feed(bytes([0x02, 0x80]) + bytes(4))
    with pytest.raises(FrameTooLarge):
        scanner.feed((bytes([0x00, 0x80]) + bytes(4)) * 10_000)


@given(st.integers(1, 20), st.integers(0, 30))
def test_the_scanner_stops_behind_as_many_frames_as_it_is_told(frames: int, there: int) -> None:
    pong = bytes([0x8A, 0x81]) + bytes(4) + b"x"
    assert FrameScanner().feed(pong * there, frames) == len(pong) * min(frames, there)
