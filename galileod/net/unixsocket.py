"""Unix sockets: paths that exceed their length limit, and the user id of a peer."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from .addresses import MAX_UNIX_PATH

_CREDENTIALS: Final = struct.Struct("iII")
"""`struct ucred`: process, user and group id (unix(7), SO_PEERCRED)."""


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """A path by which a socket can be bound or connected to `path`; valid within this context.

    A path longer than MAX_UNIX_PATH is replaced by one in /proc/self/fd, through a descriptor of
    its directory. Raises OSError if that directory cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_UNIX_PATH:
        yield path
        return
    directory, name = os.path.split(path)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def user_of_peer(stream: trio.SocketStream) -> int:
    """The user id of the peer of a unix socket, as it was when the peer connected."""
    size = _CREDENTIALS.size
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return int(user)
