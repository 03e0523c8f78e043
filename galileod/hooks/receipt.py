"""The receipts: JSON objects that describe a file that was stored or removed, for the hooks."""

import json
import os
import secrets
import time
from datetime import UTC, datetime

from galileod import __version__
from galileod.ledger.records import About, FileEntry
from galileod.metrics import RemovalReason
from galileod.protocol.messages import HashClaim
from galileod.storage.base import RUNNING_HASH


def make_receipt(
    upload: str, size: int, sha1: str, claim: HashClaim | None, user: str, peer: str, about: About
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
            "stored_at": _iso(time.time()),
            "version": __version__,
            **_describe(about.sent, about.folder, about.modified, about.ticket, about.meta),
        }
    )


def make_removed_receipt(entry: FileEntry, reason: RemovalReason) -> str:
    """The fields of a receipt for a file that was removed, as JSON; its user must be known."""
    return json.dumps(
        {
            "id": secrets.token_hex(16),
            "event": "removed",
            "reason": reason,
            "size": entry.size,
            "sha1": entry.sha1,
            "user": entry.user,
            "upload": entry.upload,
            "stored_at": None if entry.stored is None else _iso(entry.stored),
            "removed_at": _iso(time.time()),
            "version": __version__,
            **_describe(entry.sent, entry.folder, entry.modified, entry.ticket, entry.meta),
        }
    )


def _describe(
    sent: str | None,
    folder: str | None,
    modified: int | None,
    ticket: str | None,
    meta: str | None,
) -> dict[str, object]:
    """What the client and its ticket have stated about a file."""
    return {
        "sent": sent,
        "folder": folder,
        "modified": modified,
        "ticket": ticket,
        "meta": load_meta(meta),
    }


def load_meta(meta: str | None) -> object:
    """The object in the ticket's claim `meta`; None if there is none."""
    return None if meta is None else json.loads(meta)


def complete_receipt(receipt: str, name: str, location: str) -> dict[str, object]:
    """Add the fields for the file that is or was stored as `name` in the store at `location`.

    Raises ValueError if `receipt` is not valid: it was damaged in the ledger.
    """
    value = json.loads(receipt)
    if not isinstance(value, dict) or not {"id", "upload"} <= value.keys():
        raise ValueError("not a receipt")
    return {**value, "name": name, "path": os.path.join(location, name)}


def _iso(seconds: float) -> str:
    """A time in seconds since the epoch as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
