"""The state directory: what the daemon keeps below `storage.directory` beside the files."""

import os
from typing import Final

STATE_DIRECTORY: Final = ".galileod"
_LEDGER_FILE: Final = "ledger.sqlite3"
_CONTROL_SOCKET: Final = "control.sock"
_TOKEN_USES: Final = "token-uses.json"  # noqa: S105  a file name
_NODE: Final = "node"


def ledger_path(directory: str) -> str:
    """The absolute path of the ledger for the store in `directory`."""
    return _below(directory, _LEDGER_FILE)


def control_path(directory: str) -> str:
    """The absolute path of the control socket of the daemon for the store in `directory`."""
    return _below(directory, _CONTROL_SOCKET)


def token_uses_path(directory: str) -> str:
    """The absolute path of the file with the last uses of tokens, for the store in `directory`."""
    return _below(directory, _TOKEN_USES)


def node_path(directory: str) -> str:
    """The absolute path of the file with the identity of the node that stores in `directory`."""
    return _below(directory, _NODE)


def _below(directory: str, name: str) -> str:
    return os.path.join(os.path.abspath(directory), STATE_DIRECTORY, name)
