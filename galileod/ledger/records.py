"""What a ledger knows of each stored file, and the contract of the methods that find it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

CANDIDATES: Final = 2
"""Maximum files that `find_files` returns for one that is wanted."""


@frozen
class About:
    """What is known of a file before it is published.

    `sent` and `folder` are its name and its folder as the client sent them, and `place` both made
    safe, joined by slashes: before layout, conflict number or a hook have changed them. `modified`
    is the file's last modification in milliseconds since 1970, as the client stated it.
    `retention` are the seconds for which its credential lets the file be kept; None: as long as all
    others. `ticket` and `meta` are the id of its ticket, and the JSON text of a claim in it.
    """

    sent: str
    folder: str | None
    place: str
    modified: int | None = None
    retention: float | None = None
    ticket: str | None = None
    meta: str | None = None


@frozen
class FileEntry:
    """The record of a stored file; None is what is not known.

    `name` is its path below the store's directory, `size` its bytes, and `stored` when it was
    stored, in seconds since the epoch. `sent`, `folder`, `place`, `modified`, `ticket` and `meta`
    are those of its About, and `upload` the id of its upload. `expires` is when it is to be
    removed, in seconds since the epoch, if its credential said so.

    Of a file that was found on the disk, or has another size there than it was stored with, only
    name, user and size are known for certain: it has no `stored`, and no retention applies to it.
    """

    name: str
    user: str
    size: int
    sha1: str | None = None
    stored: float | None = None
    sent: str | None = None
    folder: str | None = None
    place: str | None = None
    modified: int | None = None
    upload: str | None = None
    expires: float | None = None
    ticket: str | None = None
    meta: str | None = None


@frozen
class Wanted:
    """A file that is looked for: of this place and size, and with the other values if given.

    They are those of its FileEntry.
    """

    place: str
    size: int
    modified: int | None = None
    sha1: str | None = None


@frozen
class Commit:
    """An upload that was stored as `name`: the arguments of `Ledger.commit`."""

    upload: str
    name: str
    remember: float = 0
    sha1: str | None = None
    made: Sequence[str] = ()


class Records(ABC):
    """The part of a ledger that knows the stored files. All methods raise LedgerError."""

    @abstractmethod
    async def find_files(
        self, user: str, wanted: Sequence[Wanted]
    ) -> Mapping[int, Sequence[FileEntry]]:
        """For each index of `wanted`, the user's files that match; at most CANDIDATES, the newest.

        One without files is left out. May be cancelled while the disk hangs.
        """

    @abstractmethod
    def undated(self) -> Sequence[str]:
        """The files whose time is to be found on the disk: an older version has not recorded it.

        Blocks.
        """
