"""The receipt: the JSON object about a stored file that the hook receives."""

import json
import os
import secrets
from datetime import UTC, datetime

from galileod import __version__
from galileod.protocol.messages import HashClaim
from galileod.storage.base import RUNNING_HASH


def make_receipt(
    upload: str, size: int, sha1: str, claim: HashClaim | None, user: str, peer: str
) -> str:
    """The part of a receipt that is known before the publication, as JSON.

    `claim` is the hash that the client sent, which was verified. `complete_receipt` adds the rest.
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
    """The whole receipt of the file stored as `name` in the store at `location`.

    Raises ValueError for a receipt that was damaged in the ledger.
    """
    value = json.loads(receipt)
    if not isinstance(value, dict) or not {"id", "upload"} <= value.keys():
        raise ValueError("not a receipt")
    return {**value, "name": name, "path": os.path.join(location, name)}
