"""Opens and removes listening unix sockets, each with a file."""

import os
import socket
import stat
from typing import Final

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.net.unixsocket import short_path

BACKLOG: Final = 1024
"""Maximum connections that the kernel queues until they are accepted; somaxconn may lower it."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class SocketFile:
    """The file of a unix socket that was opened here, identified by its device and inode."""

    path: str
    identity: tuple[int, int]

    @classmethod
    def at(cls, path: str) -> "SocketFile":
        """The file that is now at `path`. Raises OSError."""
        return cls(path, _identity_of(path))

    def remove(self) -> None:
        """Remove the file, unless another one has replaced it, such as that of a later daemon."""
        try:
            if _identity_of(self.path) == self.identity:
                os.unlink(self.path)
        except OSError as error:
            _log.warning("server.leftover", path=self.path, reason=str(error))


async def open_unix_listener(path: str, mode: int) -> tuple[trio.SocketListener, SocketFile]:
    """Listen on a unix socket with this mode, and replace one that a killed daemon left.

    The caller removes the file before it closes the socket, or right after: once the socket is
    closed, another file can get its inode, and would be taken for it. Raises OSError, also if
    another process listens on the socket.
    """
    with short_path(path) as short:
        _remove_stale(short)
    return await open_new_unix_listener(path, mode)


async def open_new_unix_listener(path: str, mode: int) -> tuple[trio.SocketListener, SocketFile]:
    """As `open_unix_listener`, but raises OSError if there is any file at `path`."""
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as short:
            # The file gets the mode of the socket, less the umask: it is never open to more users
            # than it should be. To change the umask would affect all threads.
            os.fchmod(listening.fileno(), mode)
            await listening.bind(short)
            os.chmod(short, mode)
        file = SocketFile.at(path)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return trio.SocketListener(listening), file


def _identity_of(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket that no process listens on. The later bind fails on anything else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind raises the error
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # a process listens, and its queue is full
