"""What can go wrong between the two ends of an upload."""

from collections.abc import Mapping
from enum import StrEnum

Json = str | int | float | bool | None


class FaultCode(StrEnum):
    """The stable words of a fatal error signal. Clients act on them, so none is ever renamed."""

    BAD_MESSAGE = "bad_message"
    BAD_METADATA = "bad_metadata"
    BAD_NAME = "bad_name"
    BAD_CHUNK = "bad_chunk"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    IDLE = "idle"
    QUOTA_EXCEEDED = "quota_exceeded"
    NO_SPACE = "no_space"
    CONFLICT = "conflict"
    SIZE_MISMATCH = "size_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    HASH_REQUIRED = "hash_required"
    UNSUPPORTED_HASH = "unsupported_hash"
    BUSY = "busy"
    UNAUTHORIZED = "unauthorized"
    SHUTTING_DOWN = "shutting_down"
    STORAGE_FAILED = "storage_failed"
    INTERNAL = "internal"


class Fault(Exception):  # noqa: N818  the protocol's word; it ends an upload, whoever is to blame
    """A reason to end the upload with a fatal error signal.

    `reason` is a sentence for a person, `details` are the extra keys of the signal.
    """

    def __init__(self, code: FaultCode, reason: str, **details: Json) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.details: Mapping[str, Json] = details


class RemoteProtocolError(Fault):
    """The peer did what the protocol does not allow. The receiver's state is as before."""


class LocalProtocolError(Exception):
    """Our own side asked for a step that its state does not allow. Nothing has changed."""
