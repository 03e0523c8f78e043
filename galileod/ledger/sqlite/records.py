"""The methods of the ledger that concern stored files."""

from collections.abc import Mapping, Sequence

from galileod.ledger.records import FileEntry, Records, Wanted

from . import files
from .database import Database
from .errors import translated


class SqliteRecords(Records):
    """The table `files`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def find_files(
        self, user: str, wanted: Sequence[Wanted]
    ) -> Mapping[int, Sequence[FileEntry]]:
        """See `Records.find_files`."""
        return await self.database.read(files.find, user, wanted)

    def undated(self) -> Sequence[str]:
        """See `Records.undated`."""
        with translated():
            return files.undated(self.database.connection)
