"""The options of an upload, its progress, and its receipt."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

from attrs import field, frozen

from galileod.protocol.sender import DEFAULT_CHUNK

from .errors import OptionError, Signal
from .hashing import check_hash

Unchecked = Any
"""An argument of the caller that has not been validated yet."""

TIMEOUT: Final = 60.0
"""Default of `timeout`: seconds without activity while waiting for the server."""

MAX_CHUNK: Final = 1 << 30
"""Maximum of `chunksize` in bytes."""


@frozen
class Progress:
    """`sent` of `size` bytes were passed to the network, `seconds` after the start.

    `sent` includes the `resumed` bytes that the server had at the start.
    """

    sent: int
    size: int
    seconds: float
    resumed: int = 0

    @property
    def ratio(self) -> float:
        """From 0 to 1; 1 for an empty file."""
        return self.sent / self.size if self.size else 1.0


@frozen
class Receipt:
    """The server has confirmed that the file is stored.

    `name` is the name that was sent, `stored_name` the one that the server reported if it chose
    another. `size` is in bytes, `hashes` are hex by type, `seconds` run from the start of the
    connection to the server's `close`. `verified`: a hash was sent, which the server compares
    before it sends `close`. `warnings` are the errors that were not fatal. `resumed` are the bytes
    that the server had already, from an earlier call; if those are all, `hashes` is empty. `path`
    is where the server has stored the file below its directory, None if it does not say so; a later
    file with the same path has replaced it.
    """

    name: str
    stored_name: str
    size: int
    hashes: Mapping[str, str]
    seconds: float
    chunks: int
    verified: bool
    warnings: Sequence[Signal] = ()
    resumed: int = 0
    path: str | None = None


class Pace(Protocol):
    """Limits the rate of sending."""

    part: int
    """Bytes that may be sent at once."""

    async def wait(self, length: int) -> None:
        """Return when `length` more bytes may be sent."""


OnProgress = Callable[[Progress], None]
OnWarning = Callable[[Signal], None]


class Settings(TypedDict, total=False):
    """The keyword arguments of `send_file`; `Options` describes them."""

    hash: str | None
    chunksize: int
    timeout: float
    token: str | None
    ca: str | None
    on_warning: OnWarning | None
    pace: Pace | None
    resume: bool


def _is_time(_: object, __: object, value: Unchecked) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise OptionError(f"The timeout must be a number of seconds above 0, not {value!r}.")


def _is_chunk(_: object, __: object, value: Unchecked) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_CHUNK:
        raise OptionError(f"The chunksize must be from 1 to {MAX_CHUNK} bytes, not {value!r}.")


def _is_token(_: object, __: object, value: Unchecked) -> None:
    # It is sent in a header. Its value must not be in the error message.
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


def _is_path(_: object, __: object, value: Unchecked) -> None:
    if value is not None and not isinstance(value, str):
        raise OptionError(f"ca must be the path of a PEM file, not {value!r}.")


def _is_pace(_: object, __: object, value: Unchecked) -> None:
    if value is not None and not (hasattr(value, "part") and hasattr(value, "wait")):
        raise OptionError(f"pace must be an object like SharedPace(1_000_000), not {value!r}.")


def _is_bool(_: object, attribute: object, value: Unchecked) -> None:
    if not isinstance(value, bool):
        name = getattr(attribute, "name", "")
        raise OptionError(f"{name} must be True or False, not {value!r}.")


def _is_function(_: object, attribute: object, value: Unchecked) -> None:
    if value is not None and not callable(value):
        name = getattr(attribute, "name", "")
        raise OptionError(f"{name} must be a function, not {value!r}.")


@frozen
class Options:
    """How a file is sent.

    `hash` is sha1, sha256, sha512 or blake2b (None or "none": no hash), `chunksize` the bytes of a
    chunk if the server names no size. `timeout` is in seconds: for opening the connection, and
    for any period without activity while waiting for the server. `token` is sent as a Bearer
    token, `ca` is a PEM file with CAs that replace the system's. `on_warning` is called with each
    error that is not fatal, as the server sent it. `pace` limits the rate, see `SharedPace`.
    `resume`: whether an upload goes on after its connection was lost, if the server can do so.
    """

    hash: str | None = field(default="sha1", converter=check_hash)
    chunksize: int = field(default=DEFAULT_CHUNK, validator=_is_chunk)
    timeout: float = field(default=TIMEOUT, validator=_is_time)
    token: str | None = field(default=None, repr=False, validator=_is_token)
    ca: str | None = field(default=None, validator=_is_path)
    on_warning: OnWarning | None = field(default=None, validator=_is_function)
    pace: Pace | None = field(default=None, validator=_is_pace)
    resume: bool = field(default=True, validator=_is_bool)
