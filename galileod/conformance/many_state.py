"""What has been said on a connection with many files."""

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs
from websockets.frames import Opcode

from galileod.conformance.dialogue_state import State, is_size, is_true, parse_signal, truthy
from galileod.conformance.events import Message

LIMITS: Final = ("next", "whole", "room")
MAX_FILES: Final = 100_000
"""Further files that are remembered on one connection; later ones are not judged."""


@attrs.define
class Many:
    """A connection with `next`. Values of peers are checked before they are stored."""

    first: State
    """File 0."""
    further: list[State] = attrs.field(factory=list)
    limits: dict[str, int] = attrs.field(factory=dict)
    """The highest value of each that the server has sent."""
    first_whole: int = 0
    """The first value of `whole`: a file of that size is sent whole, whatever has crossed."""
    ended: bool = False
    """Whether a fatal error without `next` was sent."""
    last_seen: bool = False
    """Whether the client has read `last`: it has answered a `ready` behind it."""
    question: Mapping[str, Any] | None = None
    """The question that is not answered."""
    _before_last: int | None = None
    """Credits of the current file that came before `last`, and are not answered."""

    @property
    def current(self) -> State:
        """The file whose metadata came last."""
        return self.further[-1] if self.further else self.first

    @property
    def open(self) -> list[State]:
        """The further files that are not answered."""
        return [file for file in self.further if not file.answered]

    def file(self, number: object) -> State | None:
        """The file of that number; None where there is none."""
        if type(number) is not int or not 0 <= number <= len(self.further):
            return None
        return self.further[number - 1] if number else self.first

    def is_whole(self, file: State) -> bool:
        """Whether a further file is sent whole, whatever has crossed."""
        return file.size is not None and file.size <= self.first_whole

    def is_first(self, message: Message) -> bool:
        """Whether a message of the client belongs to file 0, for which the usual rules hold."""
        if self.further:
            return False
        signal = parse_signal(message)
        return message.opcode == Opcode.BINARY or (
            signal is not None and is_true(signal.get("finished"))
        )

    def begin(self, signal: Mapping[str, Any]) -> None:
        """The server has sent its first signal."""
        self._set_limits(signal)
        self.first_whole = self.limits.get("whole", 0)
        self.ended = _ends(signal)

    def _set_limits(self, signal: Mapping[str, Any]) -> None:
        for name in LIMITS:
            value = signal.get(name)
            if is_size(value) and not (name == "next" and value == 0):
                self.limits[name] = max(value, self.limits.get(name, 0))

    def server(self, signal: Mapping[str, Any]) -> None:
        """The server has sent a signal, not its first one."""
        if "held" in signal:
            self.question = None
        if is_true(signal.get("last")):
            self._before_last = len(self.current.credits)
        if not truthy(signal.get("error")):
            self._set_limits(signal)
        self.ended = self.ended or _ends(signal)
        file = self.file(signal.get("file", 0))
        if file is None:
            return
        if truthy(signal.get("error")):
            file.failed = file.failed or truthy(signal.get("fatal"))
        elif is_true(signal.get("ready")):
            self._take_ready(file, signal)
        elif is_true(signal.get("close")):
            file.closed = True
        file.heard = True

    def client(self, message: Message) -> None:
        """The client has sent a message about a further file, or about none."""
        file = self.current
        if message.opcode == Opcode.BINARY:
            credit = file.credits.popleft() if file.credits else None
            most = credit if credit is not None else math.inf if self.is_whole(file) else 0
            file.exceeded = file.exceeded or len(message.data) > most
            file.sent += len(message.data)
            self.note_answer()
            return
        signal = parse_signal(message) or {}
        if is_true(signal.get("finished")):
            file.finished = True
        elif "ask" in signal:
            self.question = signal
        elif ("name" in signal or "size" in signal) and len(self.further) < MAX_FILES:
            size = signal["size"] if is_size(signal.get("size")) else None
            self.further.append(State(metadata=signal, size=size, agreed=self.first.agreed))

    def note_answer(self) -> None:
        """The client has answered a `ready` of the current file."""
        if self._before_last == 0:
            self.last_seen = True
        elif self._before_last is not None:
            self._before_last -= 1

    def _take_ready(self, file: State, signal: Mapping[str, Any]) -> None:
        offset = signal.get("offset")
        if not file.heard and "resume" in self.first.agreed and is_size(offset):
            file.offset = file.sent = offset
        chunksize = signal.get("chunksize")
        valid = type(chunksize) is int and chunksize > 0
        file.unlimited = file.unlimited or not valid
        file.credits.append(chunksize if valid else None)


def _ends(signal: Mapping[str, Any]) -> bool:
    """Whether a signal ends the connection."""
    return (
        truthy(signal.get("error"))
        and truthy(signal.get("fatal"))
        and not truthy(signal.get("next"))
    )
