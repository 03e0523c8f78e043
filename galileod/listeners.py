"""Listening sockets: opened from `server.listen`, named for the log, removed at the end."""

import os
import socket
import stat
from collections.abc import Sequence
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from .addresses import Listen, TcpAddress, UnixAddress

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; it may hold fewer (somaxconn)."""

UNIX_MODE: Final = 0o660
"""Who may connect to a unix socket: the daemon's user and group."""

_log: FilteringBoundLogger = structlog.get_logger()


class ListenError(Exception):
    """An address cannot be listened on; the text says which, and why."""


async def open_listeners(addresses: Sequence[Listen]) -> list[trio.SocketListener]:
    """Listen on all of `addresses`, or on none of them. Raises ListenError."""
    listeners: list[trio.SocketListener] = []
    for address in addresses:
        try:
            match address:
                case TcpAddress(host, port):
                    listeners += await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
                case UnixAddress(path):
                    listeners.append(await _open_unix_listener(path))
        except OSError as error:
            remove_sockets(addresses[: addresses.index(address)])
            raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
    return listeners


async def _open_unix_listener(path: str) -> trio.SocketListener:
    _remove_stale(path)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody may connect before the mode is right.
        before = os.umask(0o777 & ~UNIX_MODE)
        try:
            await listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return trio.SocketListener(listening)


def _remove_stale(path: str) -> None:
    """Remove a socket that a daemon left behind when it was killed; one in use stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind will say what is wrong
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def remove_sockets(addresses: Sequence[Listen]) -> None:
    """Remove the unix sockets from the filesystem, so that nobody knocks in vain."""
    for address in addresses:
        if isinstance(address, UnixAddress):
            try:
                os.unlink(address.path)
            except OSError as error:
                _log.warning("server.leftover", path=address.path, reason=str(error))


def name_of(listener: trio.SocketListener) -> str:
    """Where it really listens, in the form of `server.listen`."""
    address = listener.socket.getsockname()
    return str(TcpAddress(*address[:2]) if isinstance(address, tuple) else UnixAddress(address))
