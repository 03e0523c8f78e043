"""The rules that a client's messages must keep where `next` is agreed, behind file 0."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from websockets.frames import Opcode

from galileod.conformance.client_rules import (
    Violation,
    judge_chunk,
    judge_hash,
    judge_metadata,
)
from galileod.conformance.dialogue_state import State, is_size, is_true, parse_signal
from galileod.conformance.events import Message
from galileod.conformance.many_state import Many
from galileod.conformance.transcript import show

MAX_ENTRIES: Final = 256
"""Entries of one question."""
MAX_QUESTION: Final = 16 * 1024
"""Bytes of one question: what every server accepts."""


def judge_many_client(many: Many, message: Message) -> Iterator[Violation]:
    """What is wrong with a message that is not about file 0; `many` is as before it."""
    came = show(message.opcode, message.data)
    if message.opcode == Opcode.BINARY:
        yield from _chunk(many, message.data)
        return
    signal = parse_signal(message)
    if signal is None:
        yield "C1.1", f"expected one JSON object, but {came} came"
    elif is_true(signal.get("finished")):
        yield from _finished(many.current, signal)
    elif "name" in signal or "size" in signal:
        yield from _metadata(many, signal, came)
    elif "ask" in signal:
        yield from _ask(many, signal, came)
        if len(message.data) > MAX_QUESTION:
            what = f"expected a question of at most {MAX_QUESTION} bytes"
            yield "C10.5", f"{what}, but {len(message.data)} came"
    elif not is_true(signal.get("abandon")):
        yield "C1.8", f"expected metadata or finished, but {came} came"


def _metadata(many: Many, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    yield from judge_metadata(signal, came, None)
    if not many.current.finished and not many.current.answered:
        yield "C9.1", f"expected finished before the metadata of the next file, but {came} came"
    if many.last_seen:
        yield "C9.10", f"expected no further file after `last`, but {came} came"
    # What the server has answered may not have arrived: then the client has more open than here.
    if len(many.open) >= (limit := many.limits.get("next", 0)):
        yield "C9.2", f"expected at most {limit} open further files, but {came} came"
    size = signal.get("size")
    if not is_size(size) or size > many.first_whole:
        return
    under_way = sum(file.size or 0 for file in many.open if many.is_whole(file))
    if under_way + size > (room := many.limits.get("room", 0)):
        what = f"expected at most {room} bytes of whole files under way"
        yield "C9.2", f"{what}, but {size} more came beside {under_way}"


def _chunk(many: Many, data: bytes) -> Iterator[Violation]:
    file = many.current
    if file.answered:
        return  # the answer may not have arrived
    if file.finished:
        yield "C9.6", f"expected nothing for a file that is finished, but {len(data)} bytes came"
    elif file.size == 0:
        yield "C9.4", f"expected finished for an empty file, but a chunk of {len(data)} bytes came"
    elif file.credits:
        yield from judge_chunk(file, data, None)
    elif file.size is not None and file.size > many.limits.get("whole", 0):
        requirement = "C3.1" if file.sent else "C9.3"
        yield requirement, f"expected no chunk without a ready, but {len(data)} bytes came"
    elif len(data) != file.size:
        what = f"expected one BINARY message with the {file.size} bytes of a whole file"
        yield "C9.3", f"{what}, but {len(data)} bytes came"


def _finished(file: State, signal: Mapping[str, Any]) -> Iterator[Violation]:
    if file.answered:
        return  # the answer may not have arrived
    if file.finished:
        yield "C9.6", "expected nothing for a file that is finished, but finished came again"
    elif file.left:
        yield "C4.1", f"expected {file.left} more bytes before finished, but it came"
    yield from judge_hash(file, signal, None)


def _ask(many: Many, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    file = many.current
    if "ask" not in many.first.agreed:
        yield "C10.1", f"expected no question where `ask` is not agreed, but {came} came"
        return
    begun = file is not many.first or file.sent > file.offset
    if begun and not file.finished and not file.answered:
        yield "C10.1", f"expected no question within a file, but {came} came"
    if many.question is not None:
        yield "C10.3", f"expected no question before the answer to the last one, but {came} came"
    entries = signal["ask"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        yield "C10.2", f"expected 1 to {MAX_ENTRIES} entries, but {came} came"
    elif not all(_is_entry(entry) for entry in entries):
        what = "expected entries with `name`, `size`, and `modified` or `hash`"
        yield "C10.2", f"{what}, but {came} came"
    if type(signal.get("n")) is not int:
        yield "C10.2", f"expected `n` to be an integer, but {came} came"


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and is_size(entry.get("size"))
        and (type(entry.get("modified")) is int or isinstance(entry.get("hash"), dict))
    )
