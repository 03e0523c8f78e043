"""Every event that the daemon logs, and how each is treated while a client causes too many lines.

A new event is one row of EVENTS. `docs/logging.md` describes the same names.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class Category(Enum):
    """What an event reports, as far as the limits on repeated lines are concerned."""

    ORDINARY = auto()
    """Always written."""

    BEGINNING = auto()
    """Something begins. Not written for a network whose failures are already suppressed."""

    END = auto()
    """A connection ended: a failure if its field `stored` is false, else ordinary."""

    FAILURE = auto()
    """Written up to a limit per minute, network and code; counted in `log.suppressed` beyond it."""


EVENTS: Final[Mapping[str, Category]] = {
    "server.started": Category.ORDINARY,
    "server.draining": Category.ORDINARY,
    "server.stopped": Category.ORDINARY,
    "server.failed": Category.ORDINARY,
    "server.file_limit": Category.FAILURE,
    "server.leftover": Category.FAILURE,
    "systemd.unreachable": Category.FAILURE,
    "control.unavailable": Category.FAILURE,
    "config.reloaded": Category.ORDINARY,
    "config.rejected": Category.FAILURE,
    "config.restart_needed": Category.FAILURE,
    "connection.opened": Category.BEGINNING,
    "connection.closed": Category.END,
    "connection.refused": Category.FAILURE,
    "connection.abandoned": Category.FAILURE,
    "connection.error": Category.FAILURE,
    "credentials.refused": Category.FAILURE,
    "auth.tokens_rejected": Category.ORDINARY,
    "upload.started": Category.BEGINNING,
    "upload.stored": Category.ORDINARY,
    "upload.failed": Category.FAILURE,
    "upload.error": Category.FAILURE,
    "hook.delivered": Category.ORDINARY,
    "hook.retry": Category.FAILURE,
    "hook.failed": Category.ORDINARY,  # each is a receipt that is lost
    "hook.error": Category.ORDINARY,
    "hook.waiting": Category.FAILURE,
    "hook.output": Category.ORDINARY,
    "ledger.behind": Category.FAILURE,
    "spool.cleared": Category.ORDINARY,
    "storage.leftover": Category.FAILURE,
    "storage.close_failed": Category.FAILURE,
    "log.suppressed": Category.ORDINARY,
    "uncaught": Category.ORDINARY,
    "unraisable": Category.ORDINARY,
}
"""The category of each event, by its name."""
