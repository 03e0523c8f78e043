"""Notifies systemd while the daemon runs: for the watchdog, and with the status."""

from typing import Final

import trio

from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.uploads.context import Context

from .systemd import Manager

STATUS_SECONDS: Final = 1.0
"""Seconds between two checks of the status and, while draining, between two extensions of the
timeout."""

EXTENSION_SECONDS: Final = 30
"""Seconds of each extension: systemd kills a draining daemon that sends no more of them."""

NOTIFICATIONS: Final = 3
"""Notifications within the watchdog's timeout, so that systemd does not kill the daemon if one is
late."""


async def report_to(manager: Manager, context: Context) -> None:
    """Send notifications to the service manager until cancelled."""
    async with trio.open_nursery() as nursery:
        if manager.watchdog is not None:
            nursery.start_soon(_notify_watchdog, manager, manager.watchdog, context.store)
        if manager.notify_socket is not None:
            nursery.start_soon(_notify_status, manager, context)


async def _notify_watchdog(manager: Manager, seconds: float, store: Store) -> None:
    """Notify the watchdog while this event loop runs and the storage responds."""
    while True:
        try:
            # Without a time limit: if the storage hangs, the watchdog must restart the daemon.
            if not store.remote:
                await store.check()
        except StorageError:
            pass  # the storage responds; a restart would not help against a full disk
        manager.notify("WATCHDOG=1")
        await trio.sleep(seconds / NOTIFICATIONS)


async def _notify_status(manager: Manager, context: Context) -> None:
    """Send the status when it changes, and extend the stop timeout while the daemon drains."""
    sent = ""
    while True:
        status = _status(context)
        assignments = [status] if status != sent else []
        if context.shutdown.no_new_uploads.fired:
            # Sent repeatedly: then it works for any drain_timeout, and systemd still kills a daemon
            # that hangs while it drains.
            assignments.append(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}")
        manager.notify(*assignments)  # and what could not be sent before
        sent = status
        await trio.sleep(STATUS_SECONDS)


def _status(context: Context) -> str:
    """The line that `systemctl status` shows."""
    count = len(context.admission.running)
    uploads = f"{count} upload{'' if count == 1 else 's'} running"
    state = "Draining, " if context.shutdown.no_new_uploads.fired else ""
    if not context.lease.is_valid():
        state += "Waiting for the database to renew the lease, "
    return f"STATUS={state}{uploads}"
