"""What a hook is told of a stored file: one JSON object."""

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
    """What is known just before the publication, as JSON; `addressed` adds the rest.

    `claim` is the hash that the client sent, which was found to be right.
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


def addressed(receipt: str, name: str, directory: str) -> dict[str, object]:
    """The whole receipt of the file that stands in `directory` as `name`.

    Raises ValueError for one that was damaged since it was made.
    """
    value = json.loads(receipt)
    if not isinstance(value, dict) or not {"id", "upload"} <= value.keys():
        raise ValueError("no receipt")
    return {**value, "name": name, "path": os.path.join(directory, name)}
