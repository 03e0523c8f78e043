"""Opens the control socket of the daemon, in its storage directory."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.storage.state import control_path

from .listeners import open_unix_listener

MODE: Final = 0o600
"""Only the daemon's user and root may connect."""

_log: FilteringBoundLogger = structlog.get_logger()


async def serve_control_socket(
    directory: str,
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on the control socket in `directory`; when cancelled, remove it unless replaced.

    The daemon holds the lock of `directory`, so an existing socket was left by a daemon that was
    killed, and is replaced. If no socket can be created, such as on a filesystem without sockets,
    a warning is logged, and the daemon runs without it.
    """
    path = control_path(directory)
    try:
        listener, file = await open_unix_listener(path, MODE)
    except OSError as error:
        _log.warning("control.unavailable", path=path, reason=error.strerror or str(error))
        task_status.started()
        return
    task_status.started()
    try:
        await trio.serve_listeners(handler, [listener])
    finally:
        file.remove()
