"""What goes into an upload, and what comes out of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import field, frozen

from galileod.protocol.sender import DEFAULT_CHUNK

from .errors import OptionError, Signal
from .hashing import known_hash

Given = Any
"""What a program passed, which may be anything."""

TIMEOUT: Final = 60.0
"""Seconds, by default, that a server may be silent while we wait for it."""

MAX_CHUNK: Final = 1 << 30
"""The largest chunk, in bytes, that may be asked for."""


@frozen
class Progress:
    """So much of a file was handed to the network: `sent` of `size` bytes, after `seconds`."""

    sent: int
    size: int
    seconds: float

    @property
    def ratio(self) -> float:
        """From 0 to 1; an empty file is all sent."""
        return self.sent / self.size if self.size else 1.0


@frozen
class Receipt:
    """The server said that the file is stored.

    `name` is the one that was sent, `stored_name` the one that the server told where it is another;
    `size` is in bytes, `hashes` are hex by type, `seconds` run from the dialing to the server's
    `close`. `verified`: a hash went along, which a server compares before it says `close`.
    `warnings` are the errors that were not fatal.
    """

    name: str
    stored_name: str
    size: int
    hashes: Mapping[str, str]
    seconds: float
    chunks: int
    verified: bool
    warnings: Sequence[Signal] = ()


class Pace(Protocol):
    """Holds sending back to a rate."""

    part: int
    """Bytes that may go out at once."""

    async def wait(self, length: int) -> None:
        """Return when `length` more bytes may go out."""


OnProgress = Callable[[Progress], None]
OnWarning = Callable[[Signal], None]


class Settings(TypedDict, total=False):
    """The keyword arguments of `send_file`; `Options` says what each one means."""

    hash: str | None
    chunksize: int
    timeout: float
    token: str | None
    ca: str | None
    on_warning: OnWarning | None
    pace: Pace | None


def _is_time(_: object, __: object, value: Given) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise OptionError(f"The timeout must be a number of seconds above 0, and not {value!r}.")


def _is_chunk(_: object, __: object, value: Given) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_CHUNK:
        raise OptionError(f"The chunksize must be from 1 to {MAX_CHUNK} bytes, and not {value!r}.")


def _is_token(_: object, __: object, value: Given) -> None:
    # It becomes part of a header; what it is must never be shown.
    if value is None:
        return
    if not (
        isinstance(value, str)
        and value
        and value.isascii()
        and value.isprintable()
        and value == value.strip()
    ):
        raise OptionError(
            "The token must be one line of printable ASCII characters, without spaces around it."
        )


def _is_path(_: object, __: object, value: Given) -> None:
    if value is not None and not isinstance(value, str):
        raise OptionError(f"The ca must be the path of a PEM file, and not {value!r}.")


def _is_pace(_: object, __: object, value: Given) -> None:
    if value is not None and not (hasattr(value, "part") and hasattr(value, "wait")):
        raise OptionError(f"The pace must be one such as SharedPace(1_000_000), and not {value!r}.")


def _is_function(_: object, attribute: object, value: Given) -> None:
    if value is not None and not callable(value):
        name = getattr(attribute, "name", "")
        raise OptionError(f"The {name} must be a function, and not {value!r}.")


@frozen
class Options:
    """How to send.

    `hash` is sha1, sha256, sha512 or blake2b (None or "none": no hash), `chunksize` the bytes of a
    chunk where the server names no size. `timeout` is in seconds: for the opening of the
    connection, and for any time in which nothing moves while the server is waited for. `token` goes
    as a Bearer token, `ca` is a PEM file that replaces the system's roots. `on_warning` is called
    with each error that is not fatal, as the server sent it. `pace` holds the sending back, see
    `SharedPace`.
    """

    hash: str | None = field(default="sha1", converter=known_hash)
    chunksize: int = field(default=DEFAULT_CHUNK, validator=_is_chunk)
    timeout: float = field(default=TIMEOUT, validator=_is_time)
    token: str | None = field(default=None, repr=False, validator=_is_token)
    ca: str | None = field(default=None, validator=_is_path)
    on_warning: OnWarning | None = field(default=None, validator=_is_function)
    pace: Pace | None = field(default=None, validator=_is_pace)
