"""Suppresses repeated lines, so that clients that fail repeatedly cannot fill the log."""

import threading
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, WrappedLogger

from galileod.policy.flood import NO_CLIENT, Flood, Kind

from .events import Category, category_of


class Suppression:
    """A structlog processor that drops and counts lines above the limits of `policy.flood`.

    Lines are counted for each value of the field `network`, which the logger of a connection has.
    The field is removed here, and never rendered. A line without it is about the daemon itself.
    """

    def __init__(self) -> None:
        self._flood = Flood()
        self._lock = threading.Lock()  # the store's threads log too

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        """The fields to render. Raises structlog.DropEvent if the line is not to be written."""
        network = fields.pop("network", NO_CLIENT)
        event = fields["event"]
        category = category_of(event, fields)
        if category is Category.ORDINARY:
            return fields
        kind = Kind(event, str(fields.get("code", fields.get("status", ""))))
        with self._lock:
            if category is Category.BEGINNING:
                admitted = self._flood.admits_beginning(kind, network)
            else:
                admitted = self._flood.admits_failure(kind, network)
        if not admitted:
            raise structlog.DropEvent
        return fields

    def restart(self) -> Mapping[Kind, int]:
        """Start a new period; returns the number of lines of each kind dropped in the last one."""
        with self._lock:
            return self._flood.end_period()
