"""Whether the nodes that run use the directory of this one, and not one of which it is a copy.

A directory is known by a file in it, which a copy has as well: a cloned machine, a restored
snapshot. But nobody copies a lock, and each node that runs has locked its own file.
"""

import fcntl
import os
import time
from typing import Final

from galileod.ledger.base import LedgerError
from galileod.ledger.contents import RunningNode
from galileod.ledger.lease import LEASE_SECONDS
from galileod.ledger.node import Node
from galileod.storage.oserrors import translated
from galileod.storage.state import lock_path

from .progress import Progress

MOST_SECONDS: Final = 2 * LEASE_SECONDS
"""Maximum seconds until each node that runs was found. One that was killed counts as running until
its lease is over."""

POLL_SECONDS: Final = 0.2
"""Seconds between two looks."""


def check_shared(directory: str, node: Node, progress: Progress) -> None:
    """Return once each other node that runs has locked its file in `directory`.

    Runs in a thread. Raises StorageError, and LedgerError if one has not after MOST_SECONDS.
    """
    progress.phase = "looking for the other nodes in the directory"
    end = time.monotonic() + MOST_SECONDS
    found = set[str]()
    while True:
        running = progress.ask(node.running_beside)
        absent = [one for one in running if one.name not in found]
        with translated("cannot look for the other nodes in storage.directory"):
            found |= {one.name for one in absent if is_here(directory, one.name)}
        absent = [one for one in absent if one.name not in found]
        if not absent:
            return
        if time.monotonic() > end:
            raise LedgerError(copied(absent[0]))
        progress.step()
        time.sleep(POLL_SECONDS)


def is_here(directory: str, name: str) -> bool:
    """Whether the node `name` has locked its file in `directory`. Blocks; raises OSError."""
    try:
        fd = os.open(lock_path(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def copied(node: RunningNode) -> str:
    """Why nothing is to be stored beside `node`, which is not there."""
    return (
        f'the node "{node.name}", which runs on {node.host} since {node.since}, has not locked'
        f" .galileod/nodes/{node.name}/lock in storage.directory: this is probably a copy of its"
        " directory, or a filesystem whose locks do not hold on other machines; mount the one that"
        " the nodes share, or use another database"
    )
