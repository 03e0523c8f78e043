"""The rules that a client's messages must keep, whatever the dialogue is."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from websockets.frames import Opcode

from galileod.conformance.dialogue_state import (
    MAX_CHUNK,
    State,
    is_key,
    is_size,
    is_true,
    parse_signal,
)
from galileod.conformance.events import Message
from galileod.conformance.transcript import show

Violation = tuple[str, str]
"""A requirement, and a sentence that says what was expected and what came."""

_HASHES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "blake2b": hashlib.blake2b,
}


def judge_client(state: State, message: Message, content: bytes | None) -> Iterator[Violation]:
    """What is wrong with a message of the client; `state` is that before the message."""
    came = show(message.opcode, message.data)
    signal = parse_signal(message)
    if message.opcode == Opcode.TEXT and signal is None:
        yield "C1.1", f"expected one JSON object, but {came} came"
        return
    if state.metadata is None:
        if signal is None:
            yield "C2.1", f"expected the metadata first, but {came} came"
        else:
            yield from judge_metadata(signal, came, content)
        return
    if not state.heard:
        yield "C2.5", f"expected nothing before the server's first signal, but {came} came"
    if signal is None:
        yield from judge_chunk(state, message.data, content)
    elif is_true(signal.get("finished")):
        yield from _finished(state, signal, content)
    elif "name" in signal or "size" in signal:
        if "next" not in state.agreed:
            yield "C2.3", f"expected no second metadata, but {came} came"
    else:
        yield from _other(state, signal, came)


def _other(state: State, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    if _permitted(state, signal):
        return
    yield "C1.8", f"expected metadata or finished, but {came} came"
    if "ask" in signal:
        yield "C10.1", f"expected no question where `ask` is not agreed, but {came} came"


def _permitted(state: State, signal: Mapping[str, Any]) -> bool:
    """Whether an agreed extension has this signal."""
    if is_true(signal.get("abandon")):
        return bool(state.agreed & {"resume", "next"})
    return "ask" in signal and "ask" in state.agreed


def judge_metadata(
    signal: Mapping[str, Any], came: str, content: bytes | None
) -> Iterator[Violation]:
    """Whether metadata are as they must be."""
    size = signal.get("size")
    if not isinstance(signal.get("name"), str) or not is_size(size):
        yield "C2.1", f"expected metadata with a name and a size, but {came} came"
    elif content is not None and size != len(content):
        yield "C2.2", f"expected the size {len(content)}, but {size} came"
    for key in ("finished", "hash", "directory"):
        if key in signal:
            yield "C2.4", f"expected metadata without {key!r}, but {came} came"
    if not isinstance(signal.get("folder", ""), str) or type(signal.get("modified", 0)) is not int:
        yield "C2.6", f"expected `folder` to be a string and `modified` an integer, but {came} came"
    can = signal.get("can")
    if isinstance(can, list) and "resume" in can and not is_key(signal.get("upload")):
        yield "C8.2", f"expected `upload` with 32 hexadecimal digits, but {came} came"


def judge_chunk(state: State, data: bytes, content: bytes | None) -> Iterator[Violation]:
    """Whether a BINARY message is what its credit permits."""
    if state.finished and data:
        yield "C4.3", f"expected no data after finished, but {len(data)} bytes came"
        return
    if not state.credits:
        yield "C3.1", f"expected no chunk without a ready, but {len(data)} bytes came"
    elif (credit := state.credits[0]) is None:
        if len(data) > MAX_CHUNK:
            what = f"expected at most {MAX_CHUNK} bytes for a ready without chunksize"
            yield "C3.3", f"{what}, but {len(data)} came"
    elif len(data) > credit:
        yield "C3.2", f"expected a chunk of at most {credit} bytes, but {len(data)} came"
    elif data and state.left is not None and len(data) < min(credit, state.left):
        yield "C3.7", f"expected a chunk of {min(credit, state.left)} bytes, but {len(data)} came"
    if not data and state.size:
        yield "C3.6", "expected no empty chunk, but one came"
    if content is not None and data != content[state.sent : state.sent + len(data)]:
        yield "C3.4", f"expected the bytes of the file at {state.sent}, but others came"
    elif state.left is not None and len(data) > state.left:
        yield "C3.4", f"expected the {state.left} bytes that are left, but {len(data)} came"


def _finished(
    state: State, signal: Mapping[str, Any], content: bytes | None
) -> Iterator[Violation]:
    if state.left is not None and state.left > 0:
        yield "C4.1", f"expected {state.left} more bytes before finished, but it came"
    elif not state.finished and not state.credits:
        yield "C4.1", "expected finished to answer a ready, but it came before"
    yield from judge_hash(state, signal, content)


def judge_hash(
    state: State, signal: Mapping[str, Any], content: bytes | None
) -> Iterator[Violation]:
    """Whether `finished` has a hash as it must be."""
    claim = signal.get("hash")
    if claim is None:
        return
    kind, value = (claim.get("type"), claim.get("value")) if isinstance(claim, dict) else (0, 0)
    if not isinstance(kind, str) or not isinstance(value, str):
        yield "C4.2", f"expected a hash with type and value, but {claim!r:.200} came"
    elif content is not None and kind.lower() in _HASHES:
        expected = _HASHES[kind.lower()](content).hexdigest()
        if value.lower() != expected:
            requirement = "C8.11" if state.offset else "C4.2"
            yield (
                requirement,
                f"expected the {kind} {expected} of the file, but {value!r:.200} came",
            )
