"""The rules that a server's signals must keep, whatever the dialogue is."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from websockets.frames import Opcode

from galileod.conformance.dialogue_state import (
    State,
    agreed,
    extensions,
    is_key,
    is_true,
    parse_signal,
    truthy,
)
from galileod.conformance.events import Message
from galileod.conformance.transcript import show

Violation = tuple[str, str]
"""A requirement, and a sentence that says what was expected and what came."""

EXTENSION_KEYS: Final = (
    "can", "offset", "keep", "check", "kept", "next", "whole", "room", "file", "last", "path",
    "held", "paths",
)  # fmt: skip

_FIRST_PRINTABLE: Final = 0x20
_DELETE: Final = 0x7F


def judge_server(state: State, message: Message) -> Iterator[Violation]:
    """What is wrong with a message of the server; `state` is that before the message."""
    came = show(message.opcode, message.data)
    if message.opcode == Opcode.BINARY:
        yield "S1.5", f"expected no BINARY message from the server, but {came} came"
        return
    signal = parse_signal(message)
    if signal is None:
        yield "S1.1", f"expected one JSON object, but {came} came"
        return
    yield from _form(signal, came)
    if state.metadata is None:
        if not truthy(signal.get("error")):
            yield "S2.1", f"expected no signal before the metadata, but {came} came"
        return
    yield from _extensions(state, signal, message.data, came)
    if "next" in state.agreed:
        return  # the rules for many files say more
    yield from _order(state, signal, came)
    if not truthy(signal.get("error")) and is_true(signal.get("ready")):
        yield from _ready(state, signal, came)


def _form(signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    meanings = [name for name in ("error", "ready", "close") if truthy(signal.get(name))]
    if len(meanings) > 1:
        yield "S1.6", f"expected one of error, ready and close, but {came} came"
    if truthy(signal.get("error")):
        fatal = signal.get("fatal", False)
        if not isinstance(fatal, bool) and not (type(fatal) is int and fatal in {0, 1}):
            yield "S5.4", f"expected `fatal` to be a boolean, but {came} came"
        if not isinstance(signal["error"], str) or not isinstance(signal.get("code"), str):
            yield "S5.3", f"expected an error with a sentence and a code, but {came} came"
    name = signal.get("name")
    if truthy(signal.get("close")) and isinstance(name, str) and not is_plain(name):
        yield "S7.3", f"expected a name without directories and control characters, but {came} came"

    if truthy(signal.get("close")) and "path" in signal and not is_place(signal["path"], name):
        yield "S8.25", f"expected `path` to be folders and the stored name, but {came} came"


def is_place(path: object, name: object) -> bool:
    """Whether the `path` in `close` has plain parts, and ends with `name` if that is a string."""
    if not isinstance(path, str):
        return False
    *_, last = parts = path.split("/")
    fine = all(part not in {"", ".", ".."} and is_plain(part) for part in parts)
    return fine and (not isinstance(name, str) or last == name)


def is_plain(name: str) -> bool:
    """Whether a name has neither a directory nor a control character."""
    return "/" not in name and all(
        ord(letter) >= _FIRST_PRINTABLE and ord(letter) != _DELETE for letter in name
    )


def _extensions(
    state: State, signal: Mapping[str, Any], data: bytes, came: str
) -> Iterator[Violation]:
    offered = state.offered
    if offered is None:
        if found := [key for key in EXTENSION_KEYS if key in signal]:
            yield "S8.2", f"expected no {found[0]!r} for a client without `can`, but {came} came"
        return
    key = state.metadata.get("upload") if state.metadata else None
    if is_key(key) and key.lower().encode() in data.lower():
        yield "S8.5", f"expected no signal with the key of the upload, but {came} came"
    if not state.heard and "can" in signal:
        stated = extensions(signal)
        if stated is None:
            yield "S8.1", f"expected `can` to be a list, but {came} came"
        elif stated - offered:
            yield "S8.3", f"expected of `can` only what the client states, but {came} came"
    kept = signal.get("kept", 0)
    if isinstance(kept, bool) or not isinstance(kept, int | float) or kept < 0:
        yield "S8.17", f"expected `kept` to be a number of seconds, but {came} came"


def _order(state: State, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    if state.closed:
        yield "S4.12", f"expected no signal after close, but {came} came"
    elif state.failed:
        yield "S5.2", f"expected no signal after a fatal error, but {came} came"
    elif truthy(signal.get("close")) and not truthy(signal.get("error")):
        agreement = state.agreed if state.heard else agreed(state, signal)
        stored = not state.readies and "resume" in agreement
        complete = state.finished and state.left == 0
        if not complete and not stored:
            yield (
                "S4.2",
                f"expected no close before all bytes and finished were sent, but {came} came",
            )


def _ready(state: State, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    offset: Any = state.offset
    if not state.readies and "resume" in (state.agreed if state.heard else agreed(state, signal)):
        offset, keep = signal.get("offset"), signal.get("keep")
        size = state.size if state.size is not None else 2**63 - 1
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= size:
            yield "S8.8", f"expected an `offset` from 0 to {size}, but {came} came"
            return
        if isinstance(keep, bool) or not isinstance(keep, int | float) or keep < 0:
            yield "S8.8", f"expected `keep` to be a number of seconds, but {came} came"
        if state.attempts and offset > (most := state.attempts.most):
            yield "S8.9", f"expected an `offset` of at most {most}, as was sent, but {came} came"
    chunksize = signal.get("chunksize", 0)
    if type(chunksize) is not int or chunksize < 0:
        yield "S3.6", f"expected `chunksize` to be an integer of at least 0, but {came} came"
        return
    yield from judge_sum(state, chunksize, offset)


def judge_sum(state: State, chunksize: int, offset: int) -> Iterator[Violation]:
    """Credits and the rest of the file.

    What the client has sent may not have arrived yet when the server sent this signal. That makes
    no difference as long as no chunk was larger than its credit: each takes at least as much from
    the credits as from the rest.
    """
    if state.exceeded or state.size is None or not chunksize:
        return
    left = state.size - max(offset, state.sent)
    outstanding = sum(credit or 0 for credit in state.credits)
    if outstanding + chunksize > left:
        before = f", with {outstanding} granted before" if outstanding else ""
        sentence = f"expected credits for at most the {left} bytes that are missing"
        yield "S3.1", f"{sentence}, but one for {chunksize} came{before}"
