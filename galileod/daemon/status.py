"""What systemd is told while the daemon runs: that it is well, and what it does."""

from typing import Final

import trio

from galileod.storage.base import StorageError, Store
from galileod.uploads.context import Context

from .systemd import Manager

STATUS_SECONDS: Final = 1.0
"""The status is told so often at the most, and more time asked for while the daemon drains."""

EXTENSION_SECONDS: Final = 30
"""How long systemd waits for a daemon that drains, and says no more."""

FEEDINGS: Final = 3
"""Signs of life within the time after which systemd takes the daemon for dead."""


async def report_to(manager: Manager, context: Context) -> None:
    """Keep the manager informed, until cancelled."""
    async with trio.open_nursery() as nursery:
        if manager.watchdog is not None:
            nursery.start_soon(_feed_watchdog, manager, manager.watchdog, context.store)
        if manager.notify_socket is not None:
            nursery.start_soon(_tell_status, manager, context)


async def _feed_watchdog(manager: Manager, seconds: float, store: Store) -> None:
    """Say that we are well while this loop runs and the storage answers."""
    while True:
        try:
            await store.check()  # one that hangs is what the watchdog is for, so without a limit
        except StorageError:
            pass  # an answer too: a restart does not empty a full disk
        manager.notify("WATCHDOG=1")
        await trio.sleep(seconds / FEEDINGS)


async def _tell_status(manager: Manager, context: Context) -> None:
    """Tell what has changed, and while the daemon drains that it needs more time."""
    told = ""
    while True:
        status = _status(context)
        news = [status] if status != told else []
        if context.shutdown.no_new_uploads.fired:
            # Asked for again and again, this fits any drain_timeout, and a daemon that hangs in
            # its drain is not waited for all the same.
            news.append(f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}")
        if news:
            manager.notify(*news)
        told = status
        await trio.sleep(STATUS_SECONDS)


def _status(context: Context) -> str:
    """What `systemctl status` shows."""
    count = len(context.running)
    uploads = f"{count} upload{'' if count == 1 else 's'} running"
    return f"STATUS={'Draining, ' if context.shutdown.no_new_uploads.fired else ''}{uploads}"
