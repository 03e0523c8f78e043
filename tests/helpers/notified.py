"""A service manager's end of the socket that daemons notify."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from helpers.daemon import DEADLINE


@contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """The socket, for NOTIFY_SOCKET."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(path))
        listening.settimeout(DEADLINE)
        yield listening


def hear(listening: socket.socket, until: Callable[[str], bool]) -> list[str]:
    """All that the manager hears, up to what it waits for."""
    heard: list[str] = []
    while not any(until(line) for line in heard):
        heard += listening.recv(4096).decode().split("\n")
    return heard
