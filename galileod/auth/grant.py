"""What a credential allows, once it was found right."""

from typing import Final

from attrs import field, frozen

from galileod.units import Size

NOT_VALID: Final = "The credentials are not valid here."
"""All that a peer learns of what is wrong with them."""

MAX_CREDENTIAL: Final = 4096
"""Characters of a token or ticket that are looked at; a longer one is wrong."""

MAX_USER: Final = 128
"""Characters of a user's name."""

USER_EXPECTED: Final = f"1 to {MAX_USER} characters that can be printed, no space at either end"


class Unauthorized(Exception):  # noqa: N818  a verdict about the peer, not an error of ours
    """A credential is not right. `why` is for the log alone; the peer learns nothing of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@frozen
class Grant:
    """Whose uploads these are, and what bounds them beside the general limits.

    `max_file_size` and `quota` (bytes) stand in place of the general limits; no file may have more
    than `most` bytes. `name` is the only one that may be uploaded under. `once` is the id of a
    ticket for a single upload, until `until` (seconds of the epoch).
    """

    user: str
    max_file_size: Size | None = None
    quota: Size | None = None
    most: Size | None = None
    name: str | None = None
    once: str | None = field(default=None, repr=False)
    until: float = 0.0


def largest(grant: Grant, general: Size) -> Size:
    """Bytes that a file may have: by the user's own limit or the general one, and by a ticket."""
    limit = general if grant.max_file_size is None else grant.max_file_size
    return limit if grant.most is None else min(limit, grant.most)


def is_user(name: str) -> bool:
    """Whether this can be the name of a user: it will stand in logs and tables."""
    return 0 < len(name) <= MAX_USER and name.isprintable() and name == name.strip()
