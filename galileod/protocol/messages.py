"""The signals: JSON objects in TEXT messages, and the values that they stand for.

Source: the GalileoSend description. Unknown keys and unknown signals are ignored.
"""

import json
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from .errors import FaultCode, Json, RemoteProtocolError

MAX_SIZE: Final = 2**63 - 1
"""The largest size that can be declared, in bytes: what a signed 64-bit file offset can reach."""

QUOTED: Final = 80
"""At most so many characters of a peer's text are quoted back in a sentence."""


@frozen
class Metadata:
    """The client's first signal: a file of `size` bytes under the name `name`.

    `token` is what it shows to prove who it is; None where it shows no text here.
    """

    name: str
    size: int
    token: str | None = field(default=None, repr=False)


@frozen
class HashClaim:
    """What the client says the file hashes to. `type` is lower case, as is `value` (hex)."""

    type: str
    value: str


@frozen
class Finished:
    """The client has sent everything."""

    hash: HashClaim | None = None


@frozen
class Ready:
    """The server can take one chunk of at most `chunksize` bytes (None: as the client likes)."""

    chunksize: int | None = None


@frozen
class Close:
    """The file is stored; under `name`, where the server tells one."""

    name: str | None = None


@frozen
class Error:
    """The server reports a problem; a fatal one ends the upload."""

    reason: Json
    fatal: bool = False
    details: Mapping[str, object] = field(factory=dict)


@frozen
class Ignored:
    """A signal that this side does not know. The protocol says to pass over it."""


ClientSignal = Metadata | Finished | Ignored
ServerSignal = Ready | Close | Error | Ignored


def quote(text: str) -> str:
    """`text` as a JSON string, cut to a length fit for a sentence, in plain ASCII."""
    return json.dumps(text if len(text) <= QUOTED else text[:QUOTED] + "...")


def decode_client(text: str) -> ClientSignal:
    """Read a signal from the client.

    Raises RemoteProtocolError: `bad_message` for what is no signal at all, `bad_metadata` for
    metadata that is not a string name and a whole size. Neither quotes the client: what it sends
    may be a secret, and a fault is logged.
    """
    signal = _load(text, "The text")
    if _is_true(signal.get("finished")):
        return Finished(_hash_claim(signal.get("hash")))
    if "name" in signal or "size" in signal:
        return Metadata(_name(signal), _size(signal), _token(signal))
    return Ignored()


def decode_server(text: str) -> ServerSignal:
    """Read a signal from the server. Raises RemoteProtocolError for what is no signal at all."""
    signal = _load(text, f"The text {quote(text)}")
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
    """`{"name": ..., "size": ...}`, with the token where there is one."""
    signal: dict[str, object] = {"name": metadata.name, "size": metadata.size}
    if metadata.token is not None:
        signal["token"] = metadata.token
    return json.dumps(signal)


def encode_finished(finished: Finished) -> str:
    """`{"finished": true}`, with the hash where there is one."""
    signal: dict[str, object] = {"finished": True}
    if finished.hash is not None:
        signal["hash"] = {"type": finished.hash.type, "value": finished.hash.value}
    return json.dumps(signal)


def encode_ready(chunksize: int | None) -> str:
    """`{"ready": true}`, with the most that the answering chunk may hold where that is said."""
    if chunksize is None:
        return '{"ready": true}'
    return f'{{"ready": true, "chunksize": {chunksize}}}'


def encode_close(name: str | None = None) -> str:
    """`{"close": true}`: the file is stored, under `name` where that is said."""
    return json.dumps({"close": True} if name is None else {"close": True, "name": name})


def encode_error(reason: str, code: FaultCode, details: Mapping[str, Json]) -> str:
    """A fatal error signal. `details` are sent beside and never replace the three fixed keys."""
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
            FaultCode.BAD_MESSAGE, f"{what} is not a signal in JSON: {error}."
        ) from None
    if not isinstance(value, dict):
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, f"{what} is not a signal: expected one JSON object."
        )
    return value


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers of a doubled key may each take another one; better to refuse than to guess.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return members


def _is_true(value: object) -> bool:
    # Some JSON writers know no true and send 1. Equality alone would also let 1.0 through.
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
            "The metadata needs a size that is a whole number of bytes from 0 to 2^63-1.",
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
            FaultCode.BAD_MESSAGE, 'The hash must look like {"type": "sha1", "value": "<hex>"}.'
        )
    return HashClaim(kind.lower(), value.lower())
