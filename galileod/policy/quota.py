"""Whether one more upload fits what may be held."""

from attrs import frozen

from galileod.protocol.errors import Fault, FaultCode

from .settings import Quota


@frozen
class Holding:
    """What somebody holds: stored files, and uploads that run, with their declared bytes."""

    bytes: int = 0
    files: int = 0
    reserved: int = 0
    uploads: int = 0


def check_quota(quota: Quota, size: int, everybody: Holding, mine: Holding) -> None:
    """Raise a `quota_exceeded` Fault if `size` more bytes, as one more file, would pass a limit.

    An upload counts from its start as the file that it is to become.
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
