"""The start with a store in which the files of the ledger were not before."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.records import FileEntry, Selection
from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.storage.local.store import DIRECTORY_HOME

from .progress import Progress

SAMPLE: Final = 100
"""Maximum files that are looked at to find out whether they are all there."""

_log: FilteringBoundLogger = structlog.get_logger()


def check_home(store: Store, ledger: Ledger, path: str, progress: Progress) -> None:
    """Raise LedgerError if the files of the ledger at `path` are not in the store.

    With a store of other files, the start or a rescan would drop their records, and interrupted
    uploads would be lost; they are only where they have begun. Runs in a thread. Raises
    StorageError too.
    """
    home = ledger.home()
    if home is None:  # it is new; or it was damaged, and tells no more
        return
    if not are_directories(home, store.home) and _has_begun(ledger):
        raise LedgerError(begun_elsewhere(home, store.home))
    entries = list(islice(ledger.files(Selection()), SAMPLE))
    missing = trio.from_thread.run(progress.insist, partial(_missing, store, entries))
    if missing is not None:
        raise LedgerError(file_elsewhere(home, store.home, missing))
    if entries:
        _log.info("ledger.moved", path=path, before=named(home), now=named(store.home))


def begun_elsewhere(home: str, now: str) -> str:
    """Why uploads that were begun in `home` prevent a start with the files in `now`."""
    return (
        f"there are interrupted uploads to {named(home)}, which cannot be continued in"
        f" {named(now)}: start galileod with the settings of before, and wait until they have"
        " ended, or discard them (galileod uploads)"
    )


def file_elsewhere(home: str, now: str, missing: str) -> str:
    """Why a file that is not in `now` prevents a start there."""
    return (
        f"its files are in {named(home)}, but {missing!r} is not in {named(now)}: copy them there,"
        " or correct the settings of [storage], or use another ledger"
    )


async def _missing(store: Store, entries: Sequence[FileEntry]) -> str | None:
    """The name of a file that the store does not have as it is recorded."""
    found = await store.look([entry.name for entry in entries])
    for entry, standing in zip(entries, found, strict=True):
        if isinstance(standing, StorageError):
            raise standing
        if standing is None or standing.size != entry.size:
            return entry.name
    return None


def are_directories(before: str, now: str) -> bool:
    """Whether both are those of nodes with one directory, which may have lost its identity.

    What is interrupted then may begin anew, if it is not there.
    """
    return before.startswith(DIRECTORY_HOME) and now.startswith(DIRECTORY_HOME)


def _has_begun(ledger: Ledger) -> bool:
    """Whether there are uploads that are interrupted, or were perhaps published."""
    begun = {*ledger.interrupted(), *(one.upload for one in ledger.objects.all())}
    return bool(begun or ledger.promised())


def named(home: str) -> str:
    """A `Store.home`, for a message."""
    if home in {"", DIRECTORY_HOME}:
        return "storage.directory"
    if home.startswith(DIRECTORY_HOME):
        return f"the directory with the identity {home.removeprefix(DIRECTORY_HOME)}"
    return home
