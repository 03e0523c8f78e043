"""Unix sockets: paths that are too long for one, and the user of a peer."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from .addresses import MAX_UNIX_PATH

_CREDENTIALS: Final = struct.Struct("iII")
"""`struct ucred`: process, user and group (unix(7), SO_PEERCRED)."""


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """A path that a socket can be bound or connected to, valid in this context, for any `path`.

    A longer path than MAX_UNIX_PATH goes through a descriptor of its directory. Raises OSError.
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
    """The user id of the process that connected to a unix socket, at that time."""
    size = _CREDENTIALS.size
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return int(user)
