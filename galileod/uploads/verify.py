"""Compares the hash of the received data with the one that the client sent."""

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
    if claim is None:
        if required:
            raise Fault(FaultCode.HASH_REQUIRED, "This server requires a hash of the file.")
        return await sink.digest(RUNNING_HASH)
    if claim.type not in HASH_TYPES:
        raise Fault(
            FaultCode.UNSUPPORTED_HASH,
            f"The hash type is not supported. Supported are {', '.join(HASH_TYPES)}.",
            type=claim.type[:64],
        )
    digest = await sink.digest(claim.type)
    if claim.value != digest:
        raise Fault(
            FaultCode.HASH_MISMATCH,
            f"The {claim.type} of the received data differs from the one that was sent.",
            expected=claim.value[:128],
            received=digest,
        )
    return digest if claim.type == RUNNING_HASH else await sink.digest(RUNNING_HASH)
