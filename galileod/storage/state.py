"""The state directory: what the daemon keeps below `storage.directory` beside the files.

With a ledger that several nodes share, each has a directory of its own in it, named after the node.
"""

import os
from typing import Final

STATE_DIRECTORY: Final = ".galileod"
NODES: Final = "nodes"
_LEDGER_FILE: Final = "ledger.sqlite3"
_CONTROL_SOCKET: Final = "control.sock"
_TOKEN_USES: Final = "token-uses.json"  # noqa: S105  a file name
_IDENTITY: Final = "identity"
LOCK: Final = "lock"


def ledger_path(directory: str) -> str:
    """The absolute path of the ledger for the store in `directory`."""
    return _below(directory, None, _LEDGER_FILE)


def control_path(directory: str, node: str | None = None) -> str:
    """The absolute path of the control socket of the daemon for the store in `directory`."""
    return _below(directory, node, _CONTROL_SOCKET)


def token_uses_path(directory: str, node: str | None = None) -> str:
    """The absolute path of the file with the last uses of tokens, for the store in `directory`."""
    return _below(directory, node, _TOKEN_USES)


def node_path(directory: str, node: str) -> str:
    """The absolute path of the file with the identity of a node that stores in `directory`."""
    return _below(directory, node, _IDENTITY)


def lock_path(directory: str, node: str) -> str:
    """The absolute path of the file that a node which stores in `directory` has locked."""
    return _below(directory, node, LOCK)


def has_nodes(directory: str) -> bool:
    """Whether nodes have used the store in `directory`. Blocks."""
    return os.path.isdir(_below(directory, None, NODES))


def _below(directory: str, node: str | None, name: str) -> str:
    own = () if node is None else (NODES, node)
    return os.path.join(os.path.abspath(directory), STATE_DIRECTORY, *own, name)
