"""What a ledger knows of each stored file, and the contract of the methods that find it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
    """An upload that was stored as `name`: the arguments of `Ledger.commit`.

    `gone`: another file has the name by now, or none. The name gets no entry then; all else is done
    as for other uploads.
    """

    upload: str
    name: str
    remember: float = 0
    sha1: str | None = None
    made: Sequence[str] = ()
    gone: bool = False


@frozen
class Selection:
    """Which files are wanted: of one user, stored at `since` or later, and before `until`.

    Times are in seconds since the epoch. A file whose time is not known is in no selection with a
    time.
    """

    user: str | None = None
    since: float | None = None
    until: float | None = None


@frozen
class Removal:
    """A file that was removed: its record, and the receipt that is owed for it."""

    entry: FileEntry
    receipt: str | None = None


class Records(ABC):
    """The part of a ledger that knows the stored files. All methods raise LedgerError.

    A file whose name has more bytes than `longest_name` gets no record; None: any may have one.
    """

    longest_name: int | None = None

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

    @abstractmethod
    async def files_from(
        self, selection: Selection, cursor: str, count: int
    ) -> tuple[Sequence[FileEntry], str | None]:
        """Those of the next `count` files after `cursor` that are selected, at first "".

        Returns the cursor for the next ones as well, None if there are none. They are sorted by
        place if they are of one user, by time if they are of a time, and else by name. A file that
        is stored meanwhile may be missing. May be cancelled while the disk hangs.
        """

    @abstractmethod
    def files(self, selection: Selection) -> Iterator[FileEntry]:
        """All files of a selection. Blocks."""

    @abstractmethod
    async def expired(
        self, retention: float | None, cursor: str, count: int
    ) -> tuple[Sequence[FileEntry], str | None]:
        """At most `count` files after `cursor` whose time is over, and the cursor for the next.

        A file without a retention of its own is to be removed `retention` seconds after it was
        stored, None: never. Files of UNKNOWN_USER are left out. May be cancelled while the disk
        hangs.
        """

    @abstractmethod
    async def entries(self, names: Sequence[str]) -> Mapping[str, FileEntry]:
        """The records of those of the names that have one.

        May be cancelled while the disk hangs.
        """

    @abstractmethod
    async def promise_removals(self, removals: Sequence[Removal]) -> None:
        """Record the receipts of files that are about to be removed, durably.

        `remove_files` or `break_promises` must follow. After a crash before that, the next start
        makes the receipts of those files due that are not on the disk any more.
        """

    @abstractmethod
    async def break_promises(self, names: Sequence[str]) -> None:
        """Drop the receipts that were promised for files which could not be removed."""

    @abstractmethod
    async def remove_files(self, removals: Sequence[Removal]) -> Sequence[str]:
        """Drop the records of files that were removed, and make their receipts due.

        A receipt that was promised, now or by an attempt that has failed, is used in place of one.
        A record that has changed since it was read stays, and its receipt is dropped. Returns those
        of the folders that were made for the files in which the ledger has no files any more; it
        forgets that they were made.
        """

    @abstractmethod
    async def drop_files(self, entries: Sequence[FileEntry]) -> int:
        """Drop the records of files that are not on the disk any more, unless they have changed.

        Returns how many have been dropped.
        """

    @abstractmethod
    async def enter_found(self, found: Sequence[tuple[str, int]]) -> int:
        """Enter files by name and size for UNKNOWN_USER, unless they have a record.

        A name that an upload has claimed is left to it. Returns how many have been entered.
        """

    @abstractmethod
    async def resize_files(self, changed: Sequence[tuple[FileEntry, int]]) -> int:
        """Enter the size that files have now, unless their records have changed meanwhile.

        See FileEntry. Returns how many have been changed.
        """
