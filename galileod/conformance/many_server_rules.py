"""The rules that a server's signals must keep where `next` is agreed."""

from collections.abc import Iterator, Mapping
from typing import Any

from websockets.frames import Opcode

from galileod.conformance.dialogue_state import State, is_key, is_size, truthy
from galileod.conformance.many_state import LIMITS, Many
from galileod.conformance.server_rules import Violation, judge_sum
from galileod.conformance.transcript import show


def judge_first(signal: Mapping[str, Any], data: bytes) -> Iterator[Violation]:
    """What is wrong with the limits in the first signal."""
    if (
        truthy(signal.get("error"))
        and truthy(signal.get("fatal"))
        and not truthy(signal.get("next"))
    ):
        return  # it ends the connection
    came = show(Opcode.TEXT, data)
    if not all(is_size(signal.get(name)) for name in LIMITS) or not signal["next"]:
        yield "S9.1", f"expected `next`, `whole` and `room`, but {came} came"
    elif signal["room"] < signal["whole"]:
        yield "S9.1", f"expected a `room` that is not less than `whole`, but {came} came"


def judge_many_server(many: Many, signal: Mapping[str, Any], data: bytes) -> Iterator[Violation]:
    """What is wrong with a signal that is not the first; `many` is as before it."""
    came = show(Opcode.TEXT, data)
    if "held" in signal:
        yield from _held(many, signal, came)
    if not truthy(signal.get("error")):
        yield from _limits(many, signal, came)
    if any(truthy(signal.get(name)) for name in ("error", "ready", "close")):
        yield from _about(many, signal, came)


def _held(many: Many, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    if "ask" not in many.first.agreed:
        yield "S10.5", f"expected no `held` where `ask` is not agreed, but {came} came"
        return
    if many.question is None:
        yield "S10.1", f"expected no answer without a question, but {came} came"
        return
    held, entries = signal["held"], many.question["ask"]
    count = len(entries) if isinstance(entries, list) else 0
    valid = isinstance(held, list) and all(type(i) is int and 0 <= i < count for i in held)
    if not valid:
        yield "S10.1", f"expected `held` with indexes of {count} entries, but {came} came"
    if signal.get("n") != many.question.get("n"):
        yield "S10.1", f"expected `n` to be {many.question.get('n')!r}, but {came} came"


def _limits(many: Many, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    for name in LIMITS:
        if name not in signal:
            continue
        if not is_size(signal[name]):
            yield "S9.1", f"expected {name!r} to be an integer of at least 0, but {came} came"
        elif signal[name] < (before := many.limits.get(name, 0)):
            yield "S9.6", f"expected {name!r} not to be lower than {before}, but {came} came"


def _about(many: Many, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    if many.ended:
        yield "S5.2", f"expected no signal after a fatal error without `next`, but {came} came"
        return
    file = many.file(signal.get("file", 0))
    if file is None:
        known = f"one of the {len(many.further) + 1} files"
        yield "S9.2", f"expected `file` to be the number of {known}, but {came} came"
    elif truthy(signal.get("error")) and not truthy(signal.get("next")):
        return  # it is a warning, or ends the connection
    elif file.answered and many.further and "file" not in signal:
        yield "S9.2", f"expected `file` in a signal about a further file, but {came} came"
    elif file.answered:
        requirement = "S4.12" if file.closed else "S5.2"
        yield requirement, f"expected no signal about a file that is answered, but {came} came"
    elif truthy(signal.get("error")):
        return
    elif signal.get("ready"):
        yield from _ready(many, file, signal, came)
    elif (not file.finished or file.left) and not _was_stored(file):
        sentence = f"expected no close before all bytes and finished were sent, but {came} came"
        yield "S4.2", sentence


def _was_stored(file: State) -> bool:
    """Whether the first signal about a file may be `close`, since its key may be known."""
    key = file.metadata.get("upload") if file.metadata else None
    return not file.heard and "resume" in file.agreed and is_key(key)


def _ready(many: Many, file: State, signal: Mapping[str, Any], came: str) -> Iterator[Violation]:
    chunksize = signal.get("chunksize", 0)
    if type(chunksize) is not int or chunksize < 0:
        yield "S3.6", f"expected `chunksize` to be an integer of at least 0, but {came} came"
        return
    if file is many.first:
        yield from judge_sum(file, chunksize, file.offset)
        return
    if file.size == 0 or many.is_whole(file):
        yield "S9.4", f"expected no ready for a file that is sent whole, but {came} came"
        return
    if file.size is not None and file.size <= many.limits.get("whole", 0):
        return  # the client may have sent it whole, by a limit that was raised
    offset = signal.get("offset") if not file.heard and "resume" in file.agreed else None
    yield from judge_sum(file, chunksize, offset if is_size(offset) else file.offset)
    if is_size(offset) or chunksize or file.exceeded or file.unlimited:
        return
    # As for the sum of all credits, what has crossed makes no difference.
    if file.left == sum(credit or 0 for credit in file.credits):
        yield "S9.5", f"expected no ready for `finished` of a further file, but {came} came"
