"""The receipt: a JSON object that describes a stored file, for the hook."""

import json
import os
import re
import secrets
from datetime import UTC, datetime
from typing import Final

from galileod import __version__
from galileod.protocol.messages import HashClaim
from galileod.storage.base import RUNNING_HASH

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def make_receipt(
    upload: str, size: int, sha1: str, claim: HashClaim | None, user: str, peer: str
) -> str:
    """The fields of a receipt that are known before the file has its name, as JSON.

    `sha1` is in hex, `size` in bytes. `claim` is the hash that the client sent, if it did; it must
    have been verified. `complete_receipt` adds the other fields.
    """
    other = claim is not None and claim.type != RUNNING_HASH
    return json.dumps(
        {
            "id": secrets.token_hex(16),
            "event": "stored",
            "size": size,
            "sha1": sha1,
            "hash": {"type": claim.type, "value": claim.value} if claim and other else None,
            "hash_verified": claim is not None,
            "user": user,
            "peer": peer,
            "upload": upload,
            "stored_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "version": __version__,
        }
    )


def complete_receipt(receipt: str, name: str, location: str) -> dict[str, object]:
    """Add the fields for the file stored as `name` in the store at `location`.

    Raises ValueError if `receipt` is not valid: it was damaged in the ledger.
    """
    value = json.loads(receipt)
    if not isinstance(value, dict) or not {"id", "upload"} <= value.keys():
        raise ValueError("not a receipt")
    return {**value, "name": name, "path": os.path.join(location, name)}


def without_surrogates(text: str | None) -> str | None:
    """The text with U+FFFD for lone surrogates, which clients may send and many parsers refuse."""
    return None if text is None else _SURROGATE.sub("\ufffd", text)


def load_meta(meta: str | None) -> object:
    """The object in the ticket's claim `meta`, None if there is none."""
    return None if meta is None else json.loads(meta)
