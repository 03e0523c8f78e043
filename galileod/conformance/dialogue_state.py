"""What has been said on one connection, as the rules of both roles need it."""

import json
import re
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import attrs
from websockets.frames import Opcode

from galileod.conformance.events import Message

MAX_KEYS: Final = 1000
"""Keys of uploads that are remembered; the oldest is forgotten."""

MAX_SIGNAL: Final = 2 * 1024 * 1024
"""Bytes of the longest signal that is parsed: as an object, it takes thirty times as much."""

MAX_DIGITS: Final = 100
"""Digits of the longest integer; a longer one is taken for a floating-point number."""

MAX_CREDITS: Final = 100_000
"""Credits that are remembered on one connection."""


_KEY: Final = re.compile("[0-9a-fA-F]{32}")


MAX_CHUNK: Final = 262_144
"""Bytes that a chunk may have where its credit does not say: the limit of old servers."""


def truthy(value: object) -> bool:
    """Whether a value is truthy as in JavaScript: an empty list or object is."""
    return bool(value) or isinstance(value, list | dict)


def is_true(value: object) -> bool:
    """Whether a value stands for `true`: some JSON libraries write 1."""
    return value is True or (type(value) is int and value == 1)


def parse_signal(message: Message) -> dict[str, Any] | None:
    """The JSON object of a TEXT message; None for any other message."""
    if message.opcode != Opcode.TEXT or len(message.data) > MAX_SIGNAL:
        return None
    try:
        # Bytes may be UTF-16 for json; of a number of many digits, no sum could be told.
        signal = json.loads(message.data.decode(), parse_int=_parse_int)
        repr(signal)  # what is nested too deeply cannot be told either
    except (ValueError, RecursionError):
        return None
    return signal if isinstance(signal, dict) else None


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def extensions(signal: Mapping[str, Any]) -> frozenset[str] | None:
    """The extensions in `can`; None where there is no list."""
    can = signal.get("can")
    if not isinstance(can, list):
        return None
    return frozenset(name for name in can if isinstance(name, str))


def has_meaning(signal: Mapping[str, Any]) -> bool:
    """Whether a server's signal has a truthy `error`, `ready` or `close`, as JavaScript has it."""
    return any(truthy(signal.get(name)) for name in ("error", "ready", "close"))


def is_size(value: object) -> TypeGuard[int]:
    """Whether a value is an integer from 0 to 2^63-1."""
    return type(value) is int and 0 <= value < 2**63


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value is a key of an upload: 32 hexadecimal digits."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def identify(metadata: Mapping[str, Any]) -> tuple[object, ...]:
    """Name, size, folder and modified; of another type than they should be, they are absent."""
    folder, modified = metadata.get("folder"), metadata.get("modified")
    return (
        metadata.get("name"),
        metadata.get("size"),
        folder if isinstance(folder, str) else None,
        modified if type(modified) is int else None,
    )


@attrs.define
class Attempts:
    """All attempts for one key."""

    identity: tuple[object, ...]
    """Name, size, folder and modified of the first."""
    reached: int = 0
    """The end of the bytes that were sent in whole chunks."""
    granted: int = 0
    """Bytes of the credits that were unanswered last: a part of a chunk may have been sent."""

    @property
    def most(self) -> int:
        """The largest offset that a server can have."""
        return self.reached + self.granted


@attrs.define
class Keys:
    """The keys of uploads that were seen, over all connections."""

    _seen: dict[str, Attempts] = attrs.field(factory=dict)

    def find(self, key: str) -> Attempts | None:
        """What is known of a key."""
        return self._seen.get(key.lower())

    def begin(self, key: str, metadata: Mapping[str, Any]) -> Attempts:
        """The metadata with a key was sent."""
        identity = identify(metadata)
        if len(self._seen) >= MAX_KEYS:
            del self._seen[next(iter(self._seen))]
        return self._seen.setdefault(key.lower(), Attempts(identity))


@attrs.define
class State:
    """One connection. Values of peers are checked before they are stored."""

    metadata: Mapping[str, Any] | None = None
    """The first metadata, whatever they are."""
    size: int | None = None
    """Of the metadata, where it is valid."""
    attempts: Attempts | None = None
    """Of the key in the metadata."""
    heard: bool = False
    """Whether the server has sent a signal behind the metadata."""
    agreed: frozenset[str] = frozenset()
    """The extensions in the server's first signal that the client stated."""
    offset: int = 0
    """Where the first chunk begins."""
    sent: int = 0
    """The end of the bytes that the client has sent."""
    credits: deque[int | None] = attrs.field(factory=lambda: deque(maxlen=MAX_CREDITS))
    """`chunksize` of each unanswered `ready`, None where there is none."""
    exceeded: bool = False
    """Whether a chunk was larger than its credit, or had none."""
    unlimited: bool = False
    """Whether a credit of a further file had no `chunksize`."""
    readies: int = 0
    """All `ready` signals."""
    chunks: int = 0
    """All BINARY messages."""
    finished: bool = False
    closed: bool = False
    failed: bool = False
    """Whether a fatal error was sent."""

    @property
    def answered(self) -> bool:
        """Whether the server has said what became of the file."""
        return self.closed or self.failed

    @property
    def offered(self) -> frozenset[str] | None:
        """What the client's metadata state as `can`."""
        return extensions(self.metadata) if self.metadata is not None else None

    @property
    def left(self) -> int | None:
        """Bytes of the file that were not sent; None while the size is not known."""
        return None if self.size is None else self.size - self.sent


def agreed(state: State, first: Mapping[str, Any]) -> frozenset[str]:
    """The extensions that the server's first signal states, and the client too."""
    return (extensions(first) or frozenset()) & (state.offered or frozenset())
