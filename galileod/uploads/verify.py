"""Compares the hash of the received data with the one that the client sent."""

from collections.abc import Mapping
from typing import Final

from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import HashClaim
from galileod.storage.base import RUNNING_HASH, Sink

HASH_TYPES: Final = ("sha1", "sha256", "sha512", "blake2b")
"""Hash types that a client may send. sha1 is computed while data arrives, the others at the end."""


async def verify(sink: Sink, claim: HashClaim | None, *, required: bool) -> str:
    """Compare the client's hash, if there is one, with the data; returns the sha1 of the data.

    Raises a Fault: `hash_mismatch`, `unsupported_hash`, or `hash_required` if there is no hash and
    one is `required`; and StorageError if the data cannot be read back.
    """
    kinds = kinds_of(claim, required=required)
    digests = {kind: await sink.digest(kind) for kind in kinds}
    compare(claim, digests)
    return digests[RUNNING_HASH]


def kinds_of(claim: HashClaim | None, *, required: bool) -> tuple[str, ...]:
    """The hashes to compute: the client's, and the running one.

    Raises a Fault: `unsupported_hash`, or `hash_required` if there is no hash and one is
    `required`.
    """
    if claim is None:
        if required:
            raise Fault(FaultCode.HASH_REQUIRED, "This server requires a hash of the file.")
        return (RUNNING_HASH,)
    if claim.type not in HASH_TYPES:
        raise Fault(
            FaultCode.UNSUPPORTED_HASH,
            f"The hash type is not supported. Supported are {', '.join(HASH_TYPES)}.",
            type=claim.type[:64],
        )
    return (RUNNING_HASH,) if claim.type == RUNNING_HASH else (claim.type, RUNNING_HASH)


def compare(claim: HashClaim | None, digests: Mapping[str, str]) -> None:
    """Raise a Fault, `hash_mismatch`, if the client's hash differs from that of the data."""
    if claim is not None and claim.value != digests[claim.type]:
        raise Fault(
            FaultCode.HASH_MISMATCH,
            f"The {claim.type} of the received data differs from the one that was sent.",
            expected=claim.value[:128],
            received=digests[claim.type],
        )
