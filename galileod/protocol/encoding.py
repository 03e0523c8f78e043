"""Encodes signals as JSON objects for TEXT messages."""

import json
from collections.abc import Mapping

from .errors import FaultCode, Json
from .messages import Agreement, Finished, HashClaim, Metadata


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


def encode_abandon() -> str:
    """`{"abandon": true}`: the client cancels the upload."""
    return '{"abandon": true}'


def encode_ready(chunksize: int | None, agreement: Agreement | None = None) -> str:
    """`{"ready": true}`, with the maximum size of the chunk unless that is None.

    `agreement` is for the first signal to a client that supports extensions.
    """
    size = "" if chunksize is None else f', "chunksize": {chunksize}'
    return f'{{"ready": true{size}{_appended(agreement)}}}'


def encode_close(name: str | None = None, agreement: Agreement | None = None) -> str:
    """`{"close": true}`: the file is stored, under `name` unless that is None."""
    signal: dict[str, object] = {"close": True} if name is None else {"close": True, "name": name}
    return json.dumps(signal | _agreed(agreement))


def encode_error(
    reason: str,
    code: FaultCode,
    details: Mapping[str, Json],
    *,
    kept: int | None = None,
    agreement: Agreement | None = None,
) -> str:
    """A fatal error signal. `details` are more keys, but never `error`, `fatal` or `code`.

    `kept` is the number of seconds for which what arrived is kept, None if it is discarded.
    """
    signal: dict[str, object] = {**details, "error": reason, "fatal": True, "code": code.value}
    if kept is not None:
        signal["kept"] = kept
    return json.dumps(signal | _agreed(agreement))


def _appended(agreement: Agreement | None) -> str:
    keys = json.dumps(_agreed(agreement))[1:-1]
    return f", {keys}" if keys else ""


def _agreed(agreement: Agreement | None) -> dict[str, object]:
    if agreement is None:
        return {}
    keys: dict[str, object] = {"can": sorted(agreement.can)}
    if (resumption := agreement.resumption) is not None:
        keys |= {"offset": resumption.offset, "keep": resumption.keep}
        if resumption.check is not None:
            keys["check"] = _hash_object(resumption.check)
    return keys


def _hash_object(claim: HashClaim) -> dict[str, str]:
    return {"type": claim.type, "value": claim.value}
