"""The daemon: from a configuration to listening sockets, and from a signal to a clean stop."""

import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from . import __version__
from .addresses import Listen, TcpAddress, UnixAddress
from .config import Config
from .server import Server
from .session import House
from .stopping import Stopping
from .storage.base import StorageError
from .storage.local import LocalStore

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; it may hold fewer (somaxconn)."""

UNIX_MODE: Final = 0o660
"""Who may connect to a unix socket: the daemon's user and group."""

_log = structlog.stdlib.get_logger()


class StartError(Exception):
    """The daemon cannot start; the text says why, in one line."""


async def run(config: Config, source: str | None) -> None:
    """Serve until SIGTERM or SIGINT. `source` is the file that the configuration came from.

    Raises StartError.
    """
    try:
        store = LocalStore.open(
            config.storage.directory, config.storage.on_conflict, config.storage.durability
        )
    except StorageError as error:
        raise StartError(str(error)) from error
    listeners = await _open_listeners(config.server.listen)
    stopping = Stopping()
    server = Server(House(config, store, stopping))
    _log.info(
        "server.started",
        listen=[_name(listener) for listener in listeners],
        version=__version__,
        config=source,
        directory=store.directory,
    )
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as control:
            async with trio.open_nursery() as connections:
                accepting = trio.CancelScope()
                control.start_soon(
                    partial(
                        _stop_on_signal, signals, config.server.drain_timeout, server, stopping,
                        accepting=accepting, connections=connections.cancel_scope,
                    )
                )  # fmt: skip
                with accepting:
                    await trio.serve_listeners(
                        server.serve_socket, listeners, handler_nursery=connections
                    )
                _remove_sockets(config.server.listen)
            control.cancel_scope.cancel()
    _log.info("server.stopped", uploads=server.uploads)
    store.close()


async def _stop_on_signal(
    signals: AsyncIterator[int],
    drain_timeout: float,
    server: Server,
    stopping: Stopping,
    *,
    accepting: trio.CancelScope,
    connections: trio.CancelScope,
) -> None:
    """First nothing new; after `drain_timeout` seconds nothing at all; a second signal ends it."""
    await anext(signals)
    _log.info("server.draining", uploads=server.uploads)
    accepting.cancel()
    stopping.no_new_uploads.fire()
    with trio.move_on_after(drain_timeout) as drain:
        await anext(signals)
    if drain.cancelled_caught:
        stopping.no_uploads.fire()
        await anext(signals)
    connections.cancel()


async def _open_listeners(addresses: Sequence[Listen]) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    for address in addresses:
        try:
            match address:
                case TcpAddress(host, port):
                    listeners += await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
                case UnixAddress(path):
                    listeners.append(await _open_unix_listener(path))
        except OSError as error:
            raise StartError(f"cannot listen on {address}: {error.strerror or error}") from error
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


def _remove_sockets(addresses: Sequence[Listen]) -> None:
    for address in addresses:
        if isinstance(address, UnixAddress):
            try:
                os.unlink(address.path)
            except OSError as error:
                _log.warning("server.leftover", path=address.path, reason=str(error))


def _name(listener: trio.SocketListener) -> str:
    address = listener.socket.getsockname()
    return str(TcpAddress(*address[:2]) if isinstance(address, tuple) else UnixAddress(address))
