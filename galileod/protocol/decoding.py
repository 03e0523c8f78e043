"""Decodes the JSON objects of TEXT messages to signals.

Unknown keys and unknown signals are ignored, as the description of GalileoSend says.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from .errors import FaultCode, RemoteProtocolError
from .messages import (
    ASK,
    MAX_ASKED,
    MAX_SIZE,
    NEXT,
    RESUME,
    Abandon,
    Agreement,
    Ask,
    AskEntry,
    ClientSignal,
    Close,
    Error,
    Finished,
    HashClaim,
    Held,
    Ignored,
    Last,
    Limits,
    Metadata,
    Ready,
    Resumption,
    ServerSignal,
)

QUOTED: Final = 80
"""Maximum number of characters of a peer's message that an error message quotes."""

_KEY: Final = re.compile("[0-9a-fA-F]{32}")
"""The client's key for an upload: 128 bits in hex."""


def quote(text: str) -> str:
    """`text` as a JSON string in ASCII, truncated to QUOTED characters."""
    return json.dumps(text if len(text) <= QUOTED else text[:QUOTED] + "...")


def decode_client(text: str, agreed: frozenset[str] = frozenset()) -> ClientSignal:
    """Decode a signal from the client.

    `agreed` are the extensions that hold for a further file of the connection; the metadata of file
    0 state their own. Raises RemoteProtocolError: `bad_message` if `text` is not a signal, or a
    question of another form, `bad_metadata` if the name is not a string, the size not an integer in
    range, or the key of a client that can resume not 32 hex digits. The messages do not quote the
    client: `text` may contain a secret, and faults are logged.
    """
    signal = _load(text, "The message")
    if _is_true(signal.get("finished")):
        return Finished(_hash_claim(signal.get("hash")))
    if "name" in signal or "size" in signal:
        return _metadata(signal, agreed)
    if ASK in agreed and "ask" in signal:
        return _question(signal)
    file = signal.get("file", 0)
    if _is_true(signal.get("abandon")) and type(file) is int:
        return Abandon(file)
    return Ignored()


def decode_server(text: str) -> ServerSignal:
    """Decode a signal from the server. Raises RemoteProtocolError if `text` is not a signal."""
    signal = _load(text, f"The message {quote(text)}")
    error = signal.get("error")
    if error not in (None, False, 0, ""):  # empty lists and objects are truthy, as in JavaScript
        reason = error if isinstance(error, str | int | float) else json.dumps(error)
        fatal = bool(signal.get("fatal"))
        kept = _seconds(signal.get("kept"))
        continues = fatal and bool(signal.get("next"))
        agreement = _agreement(signal)
        return Error(reason, fatal, signal, agreement, kept, _file(signal), continues)
    if _is_true(signal.get("ready")):
        size = signal.get("chunksize")
        chunksize = size if type(size) is int and size > 0 else None
        resumption = _resumption(signal)
        agreement = _agreement(signal, resumption)
        return Ready(chunksize, agreement, _file(signal), None if agreement else resumption)
    if _is_true(signal.get("close")):
        name, path = _string(signal.get("name")), _string(signal.get("path"))
        return Close(name, _agreement(signal), _file(signal), path)
    if "held" in signal:
        return _held(signal)
    return Last() if _is_true(signal.get("last")) else Ignored()


def _load(text: str, what: str) -> dict[str, object]:
    try:
        value = _JSON.decode(text)
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


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
"""Made once: that takes longer than decoding a signal."""


def _is_true(value: object) -> bool:
    # Some JSON encoders have no `true` and send 1. Equality alone would also accept 1.0.
    return value is True or (isinstance(value, int) and value == 1)


def _metadata(signal: Mapping[str, object], agreed: frozenset[str]) -> Metadata:
    can = _extensions(signal.get("can"))
    upload = _key(signal) if RESUME in (agreed or can or ()) else None
    modified = signal.get("modified")
    return Metadata(
        _name(signal),
        _size(signal),
        token=_string(signal.get("token")),
        folder=_string(signal.get("folder")),
        modified=modified if type(modified) is int else None,
        can=can,
        upload=upload,
        # To a client that cannot resume, `abandon` is an unknown key.
        abandon=upload is not None and _is_true(signal.get("abandon")),
    )


def _question(signal: Mapping[str, object]) -> Ask:
    entries, number = signal.get("ask"), signal.get("n")
    if not isinstance(entries, list) or not entries:
        raise _bad_question("`ask` must be a list of entries")
    if type(number) is not int or not -MAX_SIZE <= number <= MAX_SIZE:
        raise _bad_question("`n` must be an integer")
    if len(entries) > MAX_ASKED:
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE,
            f"A question has at most {MAX_ASKED} entries. This one has {len(entries)}.",
            limit=MAX_ASKED,
        )
    return Ask(tuple(map(_entry, entries)), number)


def _entry(entry: object) -> AskEntry:
    if not isinstance(entry, dict):
        raise _bad_question("each entry must be an object")
    name, size, folder = entry.get("name"), entry.get("size"), entry.get("folder")
    modified, claim = entry.get("modified"), entry.get("hash")
    if not isinstance(name, str) or not isinstance(folder, str | None):
        raise _bad_question("`name` and `folder` must be strings")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise _bad_question("`size` must be an integer from 0 to 2^63-1")
    if modified is not None and type(modified) is not int:
        raise _bad_question("`modified` must be an integer")
    if modified is None and claim is None:
        raise _bad_question("each entry needs `modified` or `hash`")
    return AskEntry(name, size, folder, modified, _hash_claim(claim))


def _bad_question(rule: str) -> RemoteProtocolError:
    return RemoteProtocolError(FaultCode.BAD_MESSAGE, f"The question is not valid: {rule}.")


def _held(signal: Mapping[str, object]) -> Held:
    """The answer to a question; with the index -1, which no entry has, if it is not valid."""
    entries, number = signal.get("held"), signal.get("n")
    if not isinstance(entries, list) or type(number) is not int:
        return Held(frozenset({-1}), 0)
    indexes = [entry if type(entry) is int else -1 for entry in entries]
    paths = signal.get("paths")
    if not isinstance(paths, list) or len(paths) != len(indexes):
        paths = []
    known = {
        index: path for index, path in zip(indexes, paths, strict=False) if isinstance(path, str)
    }
    return Held(frozenset(indexes), number, known)


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


def _key(signal: Mapping[str, object]) -> str | None:
    key = signal.get("upload")
    if key is None:
        return None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise RemoteProtocolError(
            FaultCode.BAD_METADATA,
            "The key `upload` must be a string of 32 hexadecimal digits.",
            key="upload",
        )
    return key.lower()


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _extensions(value: object) -> frozenset[str] | None:
    """The names in a list of extensions; None if it is not a list, as in an older peer's signal."""
    if not isinstance(value, list):
        return None
    return frozenset(name for name in value if isinstance(name, str))


def _hash_claim(claim: object) -> HashClaim | None:
    if claim is None:
        return None
    kind, value = (claim.get("type"), claim.get("value")) if isinstance(claim, dict) else (0, 0)
    if not isinstance(kind, str) or not isinstance(value, str):
        raise RemoteProtocolError(
            FaultCode.BAD_MESSAGE, 'The hash must have the form {"type": "sha1", "value": "<hex>"}.'
        )
    return HashClaim(kind.lower(), value.lower())


def _agreement(
    signal: Mapping[str, object], resumption: Resumption | None = None
) -> Agreement | None:
    """What a signal of the server says about extensions; None if it says nothing.

    Values that are not valid are left out: only a client that uses the extension needs them.
    """
    can = _extensions(signal.get("can"))
    return None if can is None else Agreement(can, resumption, _limits(signal, can))


def _resumption(signal: Mapping[str, object]) -> Resumption | None:
    offset, check = signal.get("offset"), signal.get("check")
    if type(offset) is not int or offset < 0:
        return None
    keep = _seconds(signal.get("keep")) or 0
    claim = None
    if isinstance(check, dict) and {type(check.get("type")), type(check.get("value"))} == {str}:
        claim = _hash_claim(check)
    return Resumption(offset, keep, claim)


def _limits(signal: Mapping[str, object], can: frozenset[str]) -> Limits | None:
    values = [signal.get(key) for key in ("next", "whole", "room")]
    counts = [value for value in values if type(value) is int and value >= 0]
    if NEXT not in can or len(counts) < len(values) or not counts[0]:
        return None
    limits = Limits(*counts)
    return limits if limits.room >= limits.whole else None


def _file(signal: Mapping[str, object]) -> int:
    """The number of the file; -1, which no file has, for what is not a number."""
    file = signal.get("file", 0)
    return file if type(file) is int else -1


def _seconds(value: object) -> int | None:
    """A number of seconds, rounded down; None if it is not a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < MAX_SIZE else None  # 1e999 is infinite
