"""What was sent and received in a case, as text for people."""

import json
from collections.abc import Callable
from typing import Final

import attrs
from websockets.frames import Opcode

MAX_ENTRIES: Final = 10_000
"""Entries kept for a case; later ones are counted only."""
MAX_CHARACTERS: Final = 512 * 1024
"""Characters kept for a case."""
MAX_TEXT: Final = 4096
"""Bytes of a TEXT message that are shown."""
MAX_BINARY: Final = 16
"""Bytes of any other payload that are shown."""


def show(opcode: int, payload: bytes, limit: int = MAX_TEXT) -> str:
    """A payload on one line, with everything that is not printable escaped.

    Shows at most `limit` bytes of a TEXT message, and MAX_BINARY of another one.
    """
    if opcode == Opcode.TEXT:
        text = escape(payload[:limit].decode("utf-8", "backslashreplace"))
        return text if len(payload) <= limit else f"{text}… ({len(payload)} bytes)"
    if not payload:
        return "0 bytes"
    more = "…" if len(payload) > MAX_BINARY else ""
    return f"{len(payload)} bytes: {payload[:MAX_BINARY].hex(' ')}{more}"


def escape(text: str) -> str:
    """`text` with control characters and other unprintable ones as escapes."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


@attrs.define
class Transcript:
    """The frames and notes of a case, in order."""

    clock: Callable[[], float]
    """Seconds; only differences matter."""
    limit: int = MAX_CHARACTERS
    """Characters that are kept."""
    _lines: list[str] = attrs.field(factory=list, init=False)
    _characters: int = attrs.field(default=0, init=False)
    _left_out: int = attrs.field(default=0, init=False)
    _start: float = attrs.field(init=False)

    @_start.default
    def _now(self) -> float:
        return self.clock()

    def sent(self, connection: int, what: str) -> None:
        """Record what the kit has sent on a connection."""
        self._add(f"{connection} -> {what}")

    def received(self, connection: int, what: str) -> None:
        """Record what the peer has sent on a connection."""
        self._add(f"{connection} <- {what}")

    def note(self, sentence: str) -> None:
        """Record anything else."""
        self._add(f"# {escape(sentence[:MAX_TEXT])}")

    def _add(self, what: str) -> None:
        line = f"{self.clock() - self._start:8.3f}  {what}\n"
        if len(self._lines) >= MAX_ENTRIES or self._characters + len(line) > self.limit:
            self._left_out += 1
            return
        self._characters += len(line)
        self._lines.append(line)

    def __str__(self) -> str:
        text = "".join(self._lines)
        if self._left_out:
            text += f"          # {self._left_out} more entries are left out\n"
        return text
