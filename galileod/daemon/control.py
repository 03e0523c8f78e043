"""Opens the control socket of the daemon, in its storage directory."""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.storage.errors import StorageError

from .unix_listener import SocketFile, open_new_unix_listener, open_unix_listener

Handler = Callable[[trio.SocketStream], Awaitable[object]]

MODE: Final = 0o600
"""Only the daemon's user and root may connect."""

CHECK_SECONDS: Final = 1.0
"""Seconds between two checks whether the socket was removed."""

_log: FilteringBoundLogger = structlog.get_logger()


async def serve_control_socket(
    path: str,
    handler: Handler,
    check: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on the control socket at `path`; when cancelled, remove it unless replaced.

    The daemon holds the lock of its directory, so an existing socket was left by a daemon that was
    killed, and is replaced. If no socket can be created, such as on a filesystem without sockets,
    a warning is logged, and the daemon runs without it. If the socket is removed while the daemon
    runs, it is created again once `check`, which raises StorageError, has restored `.galileod`.
    """
    try:
        listener, file = await open_unix_listener(path, MODE)
    except OSError as error:
        _log_unavailable(path, error)
        task_status.started()
        return
    task_status.started()
    async with trio.open_nursery() as connections:
        while True:
            await _serve_until_removed(listener, file, handler, connections)
            listener, file = await _open_again(path, check)
            _log.warning("control.restored", path=path)


async def _serve_until_removed(
    listener: trio.SocketListener,
    file: SocketFile,
    handler: Handler,
    connections: trio.Nursery,
) -> None:
    removed = False
    try:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, handler, [listener], handler_nursery=connections)
            )
            while await _exists(file.path):  # noqa: ASYNC110  the kernel gives no event for it
                await trio.sleep(CHECK_SECONDS)
            removed = True
            accepting.cancel_scope.cancel()
    finally:
        if not removed:
            file.remove()


async def _exists(path: str) -> bool:
    """Whether there is a file, also another one. In a thread, since the disk may hang."""
    return await trio.to_thread.run_sync(os.path.lexists, path, abandon_on_cancel=True)


async def _open_again(
    path: str, check: Callable[[], Awaitable[object]]
) -> tuple[trio.SocketListener, SocketFile]:
    """Listen at `path` as soon as `check` succeeds and no file is there.

    Such a file may be the socket of a later daemon, if the whole directory was replaced.
    """
    logged = False
    while True:
        try:
            await check()
            return await open_new_unix_listener(path, MODE)
        except (OSError, StorageError) as error:
            if not logged:
                _log_unavailable(path, error)
            logged = True
        await trio.sleep(CHECK_SECONDS)


def _log_unavailable(path: str, error: OSError | StorageError) -> None:
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    _log.warning("control.unavailable", path=path, reason=reason)
