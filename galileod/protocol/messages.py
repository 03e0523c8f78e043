"""Signals: JSON objects in TEXT messages, decoded to values and encoded from them.

This follows the description of GalileoSend. Unknown keys and unknown signals are ignored.
"""

import json
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from .errors import FaultCode, Json, RemoteProtocolError

MAX_SIZE: Final = 2**63 - 1
"""Maximum declared size in bytes: the largest signed 64-bit file offset."""

QUOTED: Final = 80
"""Maximum number of characters of a peer's message that an error message quotes."""


@frozen
class Metadata:
    """The client's first signal: a file of `size` bytes named `name`.

    `token` is the client's credential; None if the key is missing or is not a string.
    """

    name: str
    size: int
    token: str | None = field(default=None, repr=False)


@frozen
class HashClaim:
    """The hash of the file that the client states. `type` and `value` (hex) are lower case."""

    type: str
    value: str


@frozen
class Finished:
    """The client has sent everything."""

    hash: HashClaim | None = None


@frozen
class Ready:
    """The server accepts one chunk of at most `chunksize` bytes; None sets no maximum."""

    chunksize: int | None = None


@frozen
class Close:
    """The file is stored, under `name` if the signal has one."""

    name: str | None = None


@frozen
class Error:
    """The server reports an error; a fatal error ends the upload."""

    reason: Json
    fatal: bool = False
    details: Mapping[str, object] = field(factory=dict)


@frozen
class Ignored:
    """A signal of an unknown kind, which the protocol says to ignore."""


ClientSignal = Metadata | Finished | Ignored
ServerSignal = Ready | Close | Error | Ignored


def quote(text: str) -> str:
    """`text` as a JSON string in ASCII, truncated to QUOTED characters."""
    return json.dumps(text if len(text) <= QUOTED else text[:QUOTED] + "...")


def decode_client(text: str) -> ClientSignal:
    """Decode a signal from the client.

    Raises RemoteProtocolError: `bad_message` if `text` is not a signal, `bad_metadata` if the
    name is not a string or the size not an integer in range. The messages do not quote the
    client: `text` may contain a secret, and faults are logged.
    """
    signal = _load(text, "The message")
    if _is_true(signal.get("finished")):
        return Finished(_hash_claim(signal.get("hash")))
    if "name" in signal or "size" in signal:
        return Metadata(_name(signal), _size(signal), _token(signal))
    return Ignored()


def decode_server(text: str) -> ServerSignal:
    """Decode a signal from the server. Raises RemoteProtocolError if `text` is not a signal."""
    signal = _load(text, f"The message {quote(text)}")
    if error := signal.get("error"):
        reason = error if isinstance(error, str | int | float) else json.dumps(error)
        return Error(reason, bool(signal.get("fatal")), signal)
    if _is_true(signal.get("ready")):
        size = signal.get("chunksize")
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return Ready(size)
        return Ready()
    if _is_true(signal.get("close")):
        name = signal.get("name")
        return Close(name if isinstance(name, str) else None)
    return Ignored()


def encode_metadata(metadata: Metadata) -> str:
    """`{"name": ..., "size": ...}`, with the token if there is one."""
    signal: dict[str, object] = {"name": metadata.name, "size": metadata.size}
    if metadata.token is not None:
        signal["token"] = metadata.token
    return json.dumps(signal)


def encode_finished(finished: Finished) -> str:
    """`{"finished": true}`, with the hash if there is one."""
    signal: dict[str, object] = {"finished": True}
    if finished.hash is not None:
        signal["hash"] = {"type": finished.hash.type, "value": finished.hash.value}
    return json.dumps(signal)


def encode_ready(chunksize: int | None) -> str:
    """`{"ready": true}`, with the maximum size of the chunk unless that is None."""
    if chunksize is None:
        return '{"ready": true}'
    return f'{{"ready": true, "chunksize": {chunksize}}}'


def encode_close(name: str | None = None) -> str:
    """`{"close": true}`: the file is stored, under `name` unless that is None."""
    return json.dumps({"close": True} if name is None else {"close": True, "name": name})


def encode_error(reason: str, code: FaultCode, details: Mapping[str, Json]) -> str:
    """A fatal error signal. `details` are more keys, but never `error`, `fatal` or `code`."""
    return json.dumps({**details, "error": reason, "fatal": True, "code": code.value})


def _load(text: str, what: str) -> dict[str, object]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, "The signal is nested too deeply. Expected one JSON object."
        ) from None
    except ValueError as error:
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, f"{what} is not a JSON signal: {error}."
        ) from None
    if not isinstance(value, dict):
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, f"{what} is not a signal: expected one JSON object."
        )
    return value


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Parsers differ in which value of a duplicate key they take, so it is an error here.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return members


def _is_true(value: object) -> bool:
    # Some JSON encoders have no `true` and send 1. Equality alone would also accept 1.0.
    return value is True or (isinstance(value, int) and value == 1)


def _name(signal: Mapping[str, object]) -> str:
    name = signal.get("name")
    if not isinstance(name, str):
        raise RemoteProtocolError(
            FaultCode.BAD_METADATA, "The metadata needs a name that is a string.", key="name"
        )
    return name


def _size(signal: Mapping[str, object]) -> int:
    size = signal.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise RemoteProtocolError(
            FaultCode.BAD_METADATA,
            "The metadata needs a size that is an integer from 0 to 2^63-1.",
            key="size",
        )
    return size


def _token(signal: Mapping[str, object]) -> str | None:
    token = signal.get("token")
    return token if isinstance(token, str) else None


def _hash_claim(claim: object) -> HashClaim | None:
    if claim is None:
        return None
    kind, value = (claim.get("type"), claim.get("value")) if isinstance(claim, dict) else (0, 0)
    if not isinstance(kind, str) or not isinstance(value, str):
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, 'The hash must have the form {"type": "sha1", "value": "<hex>"}.'
        )
    return HashClaim(kind.lower(), value.lower())
