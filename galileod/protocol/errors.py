"""Errors of the protocol: what ends an upload, and which side made the mistake."""

from collections.abc import Mapping
from enum import StrEnum

Json = str | int | float | bool | None


class FaultCode(StrEnum):
    """The `code` of a fatal error signal. Clients act on these strings: none is ever renamed."""

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
    ABANDONED = "abandoned"
    TAKEN_OVER = "taken_over"
    NOT_ADMITTED = "not_admitted"


class Fault(Exception):  # noqa: N818  the protocol's term for what ends an upload
    """Ends an upload with a fatal error signal.

    `reason` is a sentence for a person; `details` are additional keys of the signal.
    """

    def __init__(self, code: FaultCode, reason: str, **details: Json) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.details: Mapping[str, Json] = details


class RemoteProtocolError(Fault):
    """The peer violated the protocol. The state of the role is unchanged."""


class LocalProtocolError(Exception):
    """The caller asked for a step that the state does not allow. Nothing has changed."""
