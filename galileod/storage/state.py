"""The state directory: what the daemon keeps below `storage.directory` beside the files."""

import os
from typing import Final

STATE_DIRECTORY: Final = ".galileod"
_LEDGER_FILE: Final = "ledger.sqlite3"


def ledger_path(directory: str) -> str:
    """The absolute path of the ledger for the store in `directory`."""
    return os.path.join(os.path.abspath(directory), STATE_DIRECTORY, _LEDGER_FILE)
