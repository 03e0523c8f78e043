"""What a valid credential allows."""

from typing import Final

from attrs import field, frozen

from galileod.units import Size

NOT_VALID: Final = "The credentials are not valid here."
"""The message for all invalid credentials: it does not reveal the reason."""

MAX_CREDENTIAL: Final = 4096
"""Maximum characters of a token or ticket."""

MAX_USER: Final = 128
"""Maximum characters of a user name."""

USER_EXPECTED: Final = f"1 to {MAX_USER} printable characters, without spaces at either end"


class Unauthorized(Exception):  # noqa: N818  the result of a check, not an error of the daemon
    """A credential is not valid. `why` is for the log only, and is never sent to the peer."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@frozen
class Grant:
    """The user, and the limits on the user's uploads.

    `max_file_size` and `quota` (bytes) replace the limits in the configuration. `most` (bytes) is a
    further limit on the size of a file, `name` is the only name that a file may have. `once` is the
    id of a ticket that is valid for one upload only, `until` the time from which it is not accepted
    (seconds since the epoch). The user of an `anonymous` grant is a network address. An `expired`
    grant only allows to resume an upload that was begun before.
    """

    user: str
    max_file_size: Size | None = None
    quota: Size | None = None
    most: Size | None = None
    name: str | None = None
    once: str | None = field(default=None, repr=False)
    until: float = 0.0
    anonymous: bool = False
    expired: bool = False


def largest(grant: Grant, general: Size) -> Size:
    """The size limit of a file in bytes.

    It is `grant.max_file_size`, else `general`; a lower `grant.most` applies as well.
    """
    limit = general if grant.max_file_size is None else grant.max_file_size
    return limit if grant.most is None else min(limit, grant.most)


def is_user(name: str) -> bool:
    """Whether `name` is valid as a user name: see USER_EXPECTED."""
    return 0 < len(name) <= MAX_USER and name.isprintable() and name == name.strip()
