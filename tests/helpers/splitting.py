"""Frames of a client as bytes, and what a splitter makes of them."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

from galileod.net.budget import DataBudget
from galileod.net.frames import FrameSplitter, FrameTooLarge, Unmask
from galileod.net.messages import BinaryMessage, MessagePart, Unjudged

PART = 2 * 1024 * 1024
"""Bytes of a message that make a part, as the local store asks for."""

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


def feed(splitter: FrameSplitter, pieces: Sequence[bytes]) -> FrameTooLarge | None:
    """Let the splitter parse the pieces; gives the refusal that ended it."""
    for now, piece in enumerate(pieces):
        try:
            assert splitter.feed(piece, float(now), PLENTY) == len(piece)
        except FrameTooLarge as refused:
            return refused
        assert len(splitter._header) <= HEADER_LIMIT
    return None


def judge(splitter: FrameSplitter, pieces: Sequence[bytes]) -> tuple[bool, int] | None:
    """Of which kind and how long the message is that is refused."""
    refused = feed(splitter, pieces)
    return (refused.text, refused.length) if refused else None


def splitter_allowing(*lengths: int, unmask: Unmask = xor) -> FrameSplitter:
    budget = DataBudget()
    budget.promise(sum(lengths), max(lengths, default=0))
    return FrameSplitter(unmask, budget, PART)


def parts_of(splitter: FrameSplitter) -> list[MessagePart]:
    return [item for item in splitter.items if isinstance(item, MessagePart)]


def messages_of(splitter: FrameSplitter) -> list[BinaryMessage]:
    """The complete BINARY messages, the library's consent assumed."""
    messages = list[BinaryMessage]()
    for item in splitter.items:
        if isinstance(item, Unjudged):
            messages += [end for end in item.ends if end]
        elif isinstance(item, BinaryMessage):
            messages.append(item)
    return messages


def for_library(splitter: FrameSplitter) -> bytes:
    """The frames that are not plain."""
    return b"".join(item.frames for item in splitter.items if isinstance(item, Unjudged))


def extracted(splitter: FrameSplitter) -> bytes:
    """All that was taken out of BINARY messages, in the order of arrival."""
    data = b""
    for item in splitter.items:
        match item:
            case Unjudged(_, ends):
                data += b"".join(piece for end in ends if end for piece in end.pieces)
            case BinaryMessage(pieces) | MessagePart(pieces):
                data += b"".join(pieces)
    return data


ALLOWED = st.lists(st.integers(0, 2000) | st.just(80_000), max_size=4)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)
KEYS = st.binary(min_size=4, max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
