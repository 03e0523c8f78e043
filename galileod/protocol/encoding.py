"""Encodes signals as JSON objects for TEXT messages."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from .errors import FaultCode, Json
from .messages import Agreement, Ask, AskEntry, Finished, HashClaim, Held, Metadata, Resumption

MAX_PATHS: Final = 32 * 1024
"""Maximum characters of the paths in an answer: clients accept messages of 64 KiB."""


def encode_metadata(metadata: Metadata) -> str:
    """`{"name": ..., "size": ...}`, and the other keys that have a value."""
    signal: dict[str, object] = {"name": metadata.name, "size": metadata.size}
    optional = {
        "token": metadata.token,
        "folder": metadata.folder,
        "modified": metadata.modified,
        "upload": metadata.upload,
        "can": None if metadata.can is None else sorted(metadata.can),
        "abandon": metadata.abandon or None,
    }
    signal |= {key: value for key, value in optional.items() if value is not None}
    return json.dumps(signal)


def encode_finished(finished: Finished) -> str:
    """`{"finished": true}`, with the hash if there is one."""
    signal: dict[str, object] = {"finished": True}
    if finished.hash is not None:
        signal["hash"] = _hash_object(finished.hash)
    return json.dumps(signal)


def encode_abandon(file: int = 0) -> str:
    """`{"abandon": true}`: the client cancels file number `file` of the connection."""
    return f'{{"abandon": true{_numbered(file)}}}'


def encode_ask(question: Ask) -> str:
    """`{"ask": [...], "n": ...}`: which of these files the server has."""
    return json.dumps({"ask": list(map(_entry, question.entries)), "n": question.number})


def encode_ready(
    chunksize: int | None,
    agreement: Agreement | None = None,
    file: int = 0,
    resumption: Resumption | None = None,
) -> str:
    """`{"ready": true}`, with the maximum size of the chunk unless that is None.

    `agreement` is for the first signal to a client that supports extensions. `file` is the number
    of the file on its connection, as in the other signals; 0 is left out. `resumption` is for the
    first `ready` about a further file that may be resumed.
    """
    size = "" if chunksize is None else f', "chunksize": {chunksize}'
    if agreement is None and resumption is None:
        return f'{{"ready": true{size}{_numbered(file)}}}'
    keys = json.dumps(_agreed(agreement) | _resumed(resumption))[1:-1]
    return f'{{"ready": true{size}{_numbered(file)}, {keys}}}'


def encode_close(
    name: str | None = None,
    agreement: Agreement | None = None,
    file: int = 0,
    path: str | None = None,
) -> str:
    """`{"close": true}`: the file is stored, under `name` and at `path` unless they are None."""
    signal: dict[str, object] = {"close": True}
    if name is not None:
        signal["name"] = name
    if path is not None:
        signal["path"] = path
    if file:
        signal["file"] = file
    return json.dumps(signal | _agreed(agreement))


def encode_error(
    reason: str,
    code: FaultCode,
    details: Mapping[str, Json],
    *,
    kept: int | None = None,
    agreement: Agreement | None = None,
    file: int = 0,
    continues: bool = False,
) -> str:
    """A fatal error signal. `details` are more keys, but never `error`, `fatal` or `code`.

    `kept` is the number of seconds for which what arrived is kept, None if it is discarded. With
    `continues`, only this file has failed, and the connection has more.
    """
    signal: dict[str, object] = {**details, "error": reason, "fatal": True, "code": code.value}
    if kept is not None:
        signal["kept"] = kept
    if file:
        signal["file"] = file
    if continues:
        signal["next"] = True
    return json.dumps(signal | _agreed(agreement))


def encode_held(held: Held) -> str:
    """`{"held": [...], "n": ...}`: the answer to a question; `paths` only if there are any.

    They have at most MAX_PATHS characters together; what is beyond is null.
    """
    signal: dict[str, object] = {"held": sorted(held.entries), "n": held.number}
    if held.paths:
        signal["paths"] = list(_paths(held))
    return json.dumps(signal)


def _paths(held: Held) -> Iterator[str | None]:
    left = MAX_PATHS
    for index in sorted(held.entries):
        path = held.paths.get(index)
        if path is not None:
            left -= len(json.dumps(path))
        yield path if left >= 0 else None


def encode_last() -> str:
    """`{"last": true}`: the server takes no more files on this connection."""
    return '{"last": true}'


def _numbered(file: int) -> str:
    return f', "file": {file}' if file else ""


def _agreed(agreement: Agreement | None) -> dict[str, object]:
    if agreement is None:
        return {}
    keys: dict[str, object] = {"can": sorted(agreement.can), **_resumed(agreement.resumption)}
    if (limits := agreement.limits) is not None:
        keys |= {"next": limits.next, "whole": limits.whole, "room": limits.room}
    return keys


def _resumed(resumption: Resumption | None) -> dict[str, object]:
    if resumption is None:
        return {}
    keys: dict[str, object] = {"offset": resumption.offset, "keep": resumption.keep}
    if resumption.check is not None:
        keys["check"] = _hash_object(resumption.check)
    return keys


def _entry(entry: AskEntry) -> dict[str, object]:
    keys: dict[str, object] = {"name": entry.name, "size": entry.size}
    if entry.folder is not None:
        keys["folder"] = entry.folder
    if entry.modified is not None:
        keys["modified"] = entry.modified
    if entry.hash is not None:
        keys["hash"] = _hash_object(entry.hash)
    return keys


def _hash_object(claim: HashClaim) -> dict[str, str]:
    return {"type": claim.type, "value": claim.value}
