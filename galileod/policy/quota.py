"""Whether one more upload is within the quota."""

from attrs import frozen

from galileod.protocol.errors import Fault, FaultCode

from .settings import Quota


@frozen
class Holding:
    """Stored files, and running uploads with their declared size, of one user or of all."""

    bytes: int = 0
    files: int = 0
    reserved: int = 0
    uploads: int = 0


def check_quota(quota: Quota, size: int, everybody: Holding, mine: Holding) -> None:
    """Raise a `quota_exceeded` Fault if one more file of `size` bytes would exceed a limit.

    A running upload counts like the file that it will be.
    """
    for who, what, limit, used, more in (
        ("everybody", "bytes", quota.total_bytes, everybody.bytes + everybody.reserved, size),
        ("everybody", "files", quota.total_files, everybody.files + everybody.uploads, 1),
        ("you", "bytes", quota.user_bytes, mine.bytes + mine.reserved, size),
        ("you", "files", quota.user_files, mine.files + mine.uploads, 1),
        ("you", "uploads at once", quota.user_uploads, mine.uploads, 1),
    ):
        if limit is not None and used + more > limit:
            raise Fault(
                FaultCode.QUOTA_EXCEEDED,
                f"The quota for {who} is {limit} {what}. In use: {used}; this needs {more} more.",
                limit=limit,
                used=used,
            )
