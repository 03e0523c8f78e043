"""All events that the daemon logs, and how the limits on repeated lines apply to each.

To add an event, add a row to EVENTS, and describe it in `docs/logging.md`.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class Category(Enum):
    """How the limits on repeated lines apply to an event."""

    ORDINARY = auto()
    """Always written."""

    BEGINNING = auto()
    """A connection or upload begins. Not written for a network whose failures are suppressed."""

    END = auto()
    """A connection ended. Treated as FAILURE if its field `stored` is false, else as ORDINARY."""

    FAILURE = auto()
    """Written up to a limit for each minute, network and code. Lines above the limit are counted,
    and reported in `log.suppressed`."""


EVENTS: Final[Mapping[str, Category]] = {
    "server.starting": Category.ORDINARY,
    "server.waiting": Category.ORDINARY,
    "server.started": Category.ORDINARY,
    "server.draining": Category.ORDINARY,
    "server.stopped": Category.ORDINARY,
    "server.failed": Category.ORDINARY,
    "server.address_missing": Category.ORDINARY,
    "server.file_limit": Category.FAILURE,
    "server.exhausted": Category.FAILURE,
    "server.leftover": Category.FAILURE,
    "systemd.unreachable": Category.FAILURE,
    "control.unavailable": Category.FAILURE,
    "control.restored": Category.FAILURE,
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
    "auth.uses_not_saved": Category.FAILURE,
    "upload.started": Category.BEGINNING,
    "upload.stored": Category.ORDINARY,
    "upload.failed": Category.FAILURE,
    "upload.kept": Category.FAILURE,
    "upload.not_kept": Category.FAILURE,
    "upload.resumed": Category.BEGINNING,
    "upload.elsewhere": Category.BEGINNING,
    "upload.taken_over": Category.FAILURE,
    "upload.abandoned": Category.FAILURE,
    "file.removed": Category.ORDINARY,  # each line is about another file
    "file.expired": Category.ORDINARY,
    "file.not_removed": Category.FAILURE,
    "ledger.rescanned": Category.ORDINARY,
    "upload.expired": Category.ORDINARY,  # each line is about another upload
    "upload.evicted": Category.FAILURE,
    "upload.error": Category.FAILURE,
    "files.asked": Category.ORDINARY,
    "files.lookup_failed": Category.FAILURE,
    "hook.delivered": Category.ORDINARY,
    "hook.retry": Category.FAILURE,
    "hook.failed": Category.ORDINARY,  # each line is about another receipt
    "hook.error": Category.ORDINARY,
    "hook.waiting": Category.FAILURE,
    "hook.output": Category.ORDINARY,
    "hook.admitted": Category.ORDINARY,
    "hook.unanswered": Category.FAILURE,
    "lease.run_out": Category.FAILURE,
    "lease.renewed": Category.ORDINARY,
    "lease.lost": Category.ORDINARY,
    "node.settled": Category.ORDINARY,
    "node.not_settled": Category.FAILURE,
    "node.differs": Category.ORDINARY,
    "node.clock": Category.ORDINARY,
    "node.clock_agrees": Category.ORDINARY,
    "ledger.away": Category.ORDINARY,  # at most once a minute
    "ledger.back": Category.ORDINARY,
    "ledger.behind": Category.FAILURE,
    "ledger.damaged": Category.ORDINARY,
    "ledger.owners_unknown": Category.ORDINARY,
    "ledger.restored": Category.FAILURE,
    "ledger.moved": Category.ORDINARY,
    "ledger.journal": Category.FAILURE,
    "spool.cleared": Category.ORDINARY,
    "spool.gave_way": Category.ORDINARY,
    "storage.failing": Category.FAILURE,
    "storage.directory_changed": Category.ORDINARY,
    "storage.directory_restored": Category.ORDINARY,
    "storage.state_restored": Category.FAILURE,
    "storage.leftover": Category.FAILURE,
    "storage.close_failed": Category.FAILURE,
    "storage.not_removed": Category.FAILURE,
    "storage.error": Category.FAILURE,
    "storage.swept": Category.ORDINARY,
    "storage.not_swept": Category.FAILURE,
    "storage.name_unknown": Category.FAILURE,
    "log.dropped": Category.ORDINARY,
    "log.suppressed": Category.ORDINARY,
    "uncaught": Category.ORDINARY,
    "unraisable": Category.ORDINARY,
}
"""The category of each event, by its name."""


def category_of(event: str, fields: Mapping[str, object]) -> Category:
    """The category of a line with these fields; that of an END is FAILURE or ORDINARY."""
    category = EVENTS.get(event, Category.ORDINARY)
    if category is Category.END:
        return Category.FAILURE if fields.get("stored") is False else Category.ORDINARY
    return category
