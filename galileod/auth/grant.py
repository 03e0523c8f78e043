"""What a valid credential allows."""

from typing import Final

from attrs import field, frozen

from galileod.units import DURATION_EXPECTED, Duration, Size, parse_duration

NOT_VALID: Final = "The credentials are not valid here."
"""The message for all invalid credentials: it does not reveal the reason."""

MAX_CREDENTIAL: Final = 8192
"""Maximum characters of a token or ticket: one with a `meta` of 2 KiB in base64 fits."""

MAX_USER: Final = 128
"""Maximum characters of a user name."""

USER_EXPECTED: Final = f"1 to {MAX_USER} printable characters, without spaces at either end"

MIN_RETENTION: Final = 1
"""Minimum seconds of a retention: with less, a file would be removed while it is confirmed."""

RETENTION_EXPECTED: Final = f"{DURATION_EXPECTED}, of at least one second"


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
    (seconds since the epoch). `retention` (seconds) is how long files stay stored, instead of
    `storage.retention`. `meta` is a JSON object, as text, that the application gets back. The user
    of an `anonymous` grant is a network address. An `expired` grant only allows to resume an upload
    that was begun before.
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
    retention: Duration | None = None
    meta: str | None = field(default=None, repr=False)

    @property
    def ticket(self) -> str | None:
        """The id of the ticket, by which the application knows it again; None if it has none."""
        return self.once


def largest(grant: Grant, general: Size) -> Size:
    """The size limit of a file in bytes.

    It is `grant.max_file_size`, else `general`; a lower `grant.most` applies as well.
    """
    limit = general if grant.max_file_size is None else grant.max_file_size
    return limit if grant.most is None else min(limit, grant.most)


def parse_retention(value: object) -> Duration:
    """Parse how long files stay stored. Raises ValueError; its message says what is expected."""
    try:
        retention = parse_duration(value)
    except ValueError:
        raise ValueError(RETENTION_EXPECTED) from None
    if retention < MIN_RETENTION:
        raise ValueError(RETENTION_EXPECTED)
    return retention


def is_user(name: str) -> bool:
    """Whether `name` is valid as a user name: see USER_EXPECTED."""
    return 0 < len(name) <= MAX_USER and name.isprintable() and name == name.strip()
