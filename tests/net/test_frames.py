"""Frames that are refused on their header."""

import pytest
from helpers.splitting import (
    ALLOWED,
    PLACES,
    PLENTY,
    cut,
    extracted,
    for_library,
    frame,
    header,
    judge,
    messages_of,
    payload_frame,
    splitter_allowing,
)
from helpers.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT
from hypothesis import given
from hypothesis import strategies as st

from galileod.net.frames import (
    MAX_FRAGMENTS,
    TEXT_LIMIT,
    FrameTooLarge,
)
from galileod.net.messages import Ping, Unjudged

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


@given(FRAMES, ALLOWED, PLACES)
def test_frames_cut_anywhere_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int], places: list[int]
) -> None:
    data = b"".join(frames)
    whole, parts = splitter_allowing(*allowed), splitter_allowing(*allowed)
    assert judge(whole, [data]) == judge(parts, cut(data, places))
    assert for_library(whole) == for_library(parts)


@given(FRAMES, ALLOWED)
def test_frames_fed_byte_by_byte_get_the_verdict_of_the_whole(
    frames: list[bytes], allowed: list[int]
) -> None:
    data = b"".join(frames)[:5000]
    whole, single = splitter_allowing(*allowed), splitter_allowing(*allowed)
    assert judge(whole, [data]) == judge(single, [data[i : i + 1] for i in range(len(data))])
    assert extracted(whole) == extracted(single)


@given(st.lists(st.binary(max_size=200), max_size=5), ALLOWED)
def test_any_bytes_are_walked_or_refused(pieces: list[bytes], allowed: list[int]) -> None:
    verdict = judge(splitter_allowing(*allowed), pieces)
    if verdict is not None:
        text, length = verdict
        assert length > (TEXT_LIMIT if text else 0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40, (1 << 64) - 1])
def test_a_binary_message_that_nobody_allowed_is_refused_by_its_header(
    length: int, *, masked: bool
) -> None:
    verdict = judge(splitter_allowing(), [header(BINARY, length, masked=masked)])
    assert verdict == (False, length)


@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 1 << 40])
def test_a_binary_message_may_hold_what_was_allowed_and_no_more(length: int) -> None:
    assert judge(splitter_allowing(length), [header(BINARY, length)]) is None
    refused = judge(splitter_allowing(length), [header(BINARY, length + 1)])
    assert refused == (False, length + 1)


def test_an_empty_binary_message_needs_no_leave() -> None:
    splitter = splitter_allowing()
    assert judge(splitter, [frame(BINARY, 0) * 3]) is None
    assert [(each.pieces, each.length) for each in messages_of(splitter)] == [([], 0)] * 3


def test_each_binary_message_uses_up_what_was_allowed() -> None:
    good = frame(BINARY, 10) * 2
    refused = judge(splitter_allowing(10, 10), [good + frame(BINARY, 1)])
    assert refused == (False, 1)


def test_one_binary_message_may_not_hold_what_was_allowed_to_two() -> None:
    assert judge(splitter_allowing(10, 10), [frame(BINARY, 11)]) == (False, 11)


def test_what_a_message_leaves_over_may_be_used_by_the_next() -> None:
    splitter = splitter_allowing(10, 5)
    assert judge(splitter, [frame(BINARY, 6) + frame(BINARY, 9)]) is None
    assert judge(splitter, [frame(BINARY, 1)]) == (False, 1)


def test_leave_may_be_given_between_two_messages() -> None:
    splitter = splitter_allowing(10)
    assert judge(splitter, [frame(BINARY, 10)]) is None
    splitter.budget.promise(30, 20)
    assert judge(splitter, [frame(BINARY, 20)]) is None


def test_the_frames_of_a_binary_message_are_added_up() -> None:
    start = frame(BINARY, 6, final=False)
    assert judge(splitter_allowing(10), [start + frame(CONTINUATION, 4)]) is None
    refused = judge(splitter_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11)


def test_a_text_message_may_hold_so_much_and_no_more() -> None:
    assert judge(splitter_allowing(), [frame(TEXT, TEXT_LIMIT) * 2]) is None
    refused = judge(splitter_allowing(), [header(TEXT, TEXT_LIMIT + 1)])
    assert refused == (True, TEXT_LIMIT + 1)


def test_leave_for_binary_messages_is_none_for_text() -> None:
    splitter = splitter_allowing(1 << 30)
    assert judge(splitter, [header(TEXT, TEXT_LIMIT + 1)]) == (True, TEXT_LIMIT + 1)


def test_the_frames_of_a_text_message_are_added_up() -> None:
    start = frame(TEXT, TEXT_LIMIT, final=False)
    assert judge(splitter_allowing(), [start + frame(CONTINUATION, 0)]) is None
    refused = judge(splitter_allowing(), [start + frame(CONTINUATION, 1)])
    assert refused == (True, TEXT_LIMIT + 1)


def test_a_control_frame_between_two_frames_of_a_message_does_not_count() -> None:
    start = frame(BINARY, 6, final=False) + frame(PING, 100)
    good = [start + frame(CONTINUATION, 4) + frame(CLOSE, 2)]
    assert judge(splitter_allowing(10), good) is None
    refused = judge(splitter_allowing(10), [start + frame(CONTINUATION, 5)])
    assert refused == (False, 11)


def test_a_continuation_of_nothing_counts_as_binary() -> None:
    assert judge(splitter_allowing(), [frame(CONTINUATION, 1)]) == (False, 1)


def test_what_stands_before_the_refused_frame_is_there() -> None:
    splitter = splitter_allowing()
    good = payload_frame(TEXT, b"hello") + payload_frame(PING, b"?")
    begun = frame(TEXT, 3, final=False)
    assert judge(splitter, [good + begun + frame(BINARY, 1)]) == (False, 1)
    assert list(splitter.items) == ["hello", Ping(b"?"), Unjudged(begun, [])]


def test_a_frame_is_refused_whose_header_began_in_an_earlier_piece() -> None:
    splitter = splitter_allowing()
    data = header(BINARY, 1000)
    assert judge(splitter, [data[:3]]) is None
    assert judge(splitter, [data[3:]]) == (False, 1000)
    assert not splitter.items


def test_messages_before_the_refused_one_can_still_be_taken() -> None:
    splitter = splitter_allowing(5)
    assert judge(splitter, [payload_frame(BINARY, b"hello") + header(BINARY, 1)]) is not None
    (message,) = messages_of(splitter)
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
    assert judge(splitter, [frame(CONTINUATION, 0)]) == (opcode == TEXT, 0)


@given(st.integers(1, 20), st.integers(0, 30), st.integers(0, 5))
def test_the_splitter_stops_behind_as_many_frames_as_it_is_told(
    frames: int, there: int, before: int
) -> None:
    for one in (payload_frame(BINARY, b"abc"), payload_frame(TEXT, b"abc"), frame(PING, 3)):
        splitter, count = splitter_allowing(100), min(frames, there)
        data = bytes(before) + one * there
        assert splitter.feed(data, 0.0, frames, before) == before + len(one) * count
        assert len(splitter.items) == count


def test_what_is_due_is_what_was_allowed_and_has_not_come() -> None:
    splitter = splitter_allowing(1000, 500)
    assert splitter.due == 1500
    splitter.feed(header(BINARY, 800) + b"x" * 300, 0.0, 1 << 62)
    assert splitter.due == 1200
    splitter.feed(b"x" * 500, 0.0, 1 << 62)
    assert splitter.due == 700
