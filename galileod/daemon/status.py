"""Notifications to systemd while the daemon runs: the watchdog, and its status."""

from typing import Final

import trio

from galileod.storage.base import StorageError, Store
from galileod.uploads.context import Context

from .systemd import Manager

STATUS_SECONDS: Final = 1.0
"""Seconds between two looks at the status; while draining, also between two requests for time."""

EXTENSION_SECONDS: Final = 30
"""The time that each request asks for: systemd kills a draining daemon that stops asking."""

NOTIFICATIONS: Final = 3
"""Notifications within the watchdog's time, so that one that is late does not end the daemon."""


async def report_to(manager: Manager, context: Context) -> None:
    """Send notifications to the manager until cancelled."""
    async with trio.open_nursery() as nursery:
        if manager.watchdog is not None:
            nursery.start_soon(_notify_watchdog, manager, manager.watchdog, context.store)
        if manager.notify_socket is not None:
            nursery.start_soon(_notify_status, manager, context)


async def _notify_watchdog(manager: Manager, seconds: float, store: Store) -> None:
    """Notify the watchdog while this event loop runs and the storage responds."""
    while True:
        try:
            await (
                store.check()
            )  # without a time limit: the watchdog is there for storage that hangs
        except StorageError:
            pass  # it has responded: a restart would not empty a full disk
        manager.notify("WATCHDOG=1")
        await trio.sleep(seconds / NOTIFICATIONS)


async def _notify_status(manager: Manager, context: Context) -> None:
    """Send the status when it changes, and while the daemon drains, requests for more time."""
    sent = ""
    while True:
        status = _status(context)
        assignments = [status] if status != sent else []
        if context.shutdown.no_new_uploads.fired:
            # Repeated requests fit any drain_timeout, and systemd still kills a daemon that hangs
            # while it drains.
            assignments.append(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}")
        if assignments:
            manager.notify(*assignments)
        sent = status
        await trio.sleep(STATUS_SECONDS)


def _status(context: Context) -> str:
    """The line that `systemctl status` shows."""
    count = len(context.admission.running)
    uploads = f"{count} upload{'' if count == 1 else 's'} running"
    return f"STATUS={'Draining, ' if context.shutdown.no_new_uploads.fired else ''}{uploads}"
