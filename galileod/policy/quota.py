"""Whether one more upload is within the quota."""

from attrs import frozen

from galileod.protocol.errors import Fault, FaultCode
from galileod.units import Size

from .exhausted import Exhausted
from .settings import Quota


@frozen
class Holding:
    """What one user holds, or all: stored files, running uploads, and interrupted ones.

    `reserved` are the declared sizes of the running uploads in bytes, `kept` the bytes of the
    `kept_uploads`, which are interrupted and may be resumed.
    """

    bytes: int = 0
    files: int = 0
    reserved: int = 0
    uploads: int = 0
    kept: int = 0
    kept_uploads: int = 0


class QuotaFault(Fault):
    """A limit would be exceeded: one for `all_users`, or for one; with `of_files` on files."""

    def __init__(
        self, reason: str, *, all_users: bool, of_files: bool, limit: int, used: int
    ) -> None:
        super().__init__(FaultCode.QUOTA_EXCEEDED, reason, limit=limit, used=used)
        self.all_users = all_users
        self.of_files = of_files


def check_quota(quota: Quota, size: int, total: Holding, user: Holding, *, pinned: int = 0) -> None:
    """Raise a QuotaFault if one more file of `size` bytes would exceed a limit.

    `total` is what all users hold, `user` what the upload's user holds. A running upload counts as
    a file of its declared size. Kept uploads do not count, since they give way, except `pinned`
    bytes of those that do not.
    """
    for whose, what, limit, used, more in (
        ("all users", "bytes", quota.total_bytes, total.bytes + total.reserved + pinned, size),
        ("all users", "files", quota.total_files, total.files + total.uploads, 1),
        ("you", "bytes", quota.user_bytes, user.bytes + user.reserved, size),
        ("you", "files", quota.user_files, user.files + user.uploads, 1),
        ("you", "uploads at once", quota.user_uploads, user.uploads, 1),
    ):
        if limit is not None and used + more > limit:
            raise QuotaFault(
                f"The quota for {whose} is {limit} {what}. In use: {used}; this needs {more} more.",
                all_users=whose == "all users",
                of_files=what != "uploads at once",
                limit=limit,
                used=used,
            )


def has_room(limit: Size | None, holding: Holding, received: int, size: int) -> bool:
    """Whether `size` more bytes, which have come, fit beside what is on the disk.

    That is `holding`, and the bytes `received` by its running uploads instead of their declared
    sizes.
    """
    return limit is None or holding.bytes + holding.kept + received + size <= limit


def find_used_up(quota: Quota, total: Holding) -> Exhausted | None:
    """The quota for all users that the stored files alone have used up, or None.

    It refuses every upload of at least one byte. Running uploads do not count: what they have
    reserved is released if they fail.
    """
    for what, limit, used in (
        ("bytes", quota.total_bytes, total.bytes),
        ("files", quota.total_files, total.files),
    ):
        if limit is not None and used >= limit:
            key = f"quota.total_{what}"
            return Exhausted(key, f"{key} is {limit}, and {used} {what} are stored.")
    return None
