"""Masking is undone in C, as plain Python does it."""

from itertools import pairwise

import websockets.speedups
from helpers.splitting import PART, messages_of
from helpers.wire import BINARY, frame
from hypothesis import example, given
from hypothesis import strategies as st

from galileod.net import websocket as transport
from galileod.net.budget import DataBudget
from galileod.net.frames import FrameSplitter

COMPILED = vars(transport)["apply_mask"]

KEYS = st.binary(min_size=4, max_size=4)


def plain(data: bytes | memoryview, key: bytes) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def test_the_routine_is_the_compiled_one() -> None:
    assert COMPILED is websockets.speedups.apply_mask


@given(data=st.binary(max_size=300), key=KEYS, start=st.integers(0, 300))
def test_the_routine_does_what_plain_python_does(data: bytes, key: bytes, start: int) -> None:
    view = memoryview(data)[start:]
    unmasked = COMPILED(view, key)
    assert isinstance(unmasked, bytes)
    assert unmasked == plain(view, key)


@given(
    payload=st.binary(max_size=300),
    key=KEYS,
    cuts=st.lists(st.integers(0, 320)),
)
@example(payload=b"0123456789", key=b"abcd", cuts=[1, 1, 2, 5, 7, 8, 9, 11])
def test_a_message_in_any_pieces_is_unmasked(payload: bytes, key: bytes, cuts: list[int]) -> None:
    budget = DataBudget()
    budget.promise(len(payload), len(payload))
    splitter = FrameSplitter(COMPILED, budget, PART)
    data = frame(BINARY, payload, key=key)
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        splitter.feed(data[start:end], 0.0, 1)
    (message,) = messages_of(splitter)
    assert b"".join(message.pieces) == payload


@given(data=st.binary(max_size=300), key=KEYS)
def test_masking_twice_gives_back_the_data(data: bytes, key: bytes) -> None:
    assert COMPILED(COMPILED(data, key), key) == data
