"""The log: one JSON object a line on standard error, or lines for a person at a terminal."""

import logging
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from galileod.net.addresses import network_of_peer
from galileod.policy.flood import OURSELVES, Flood, Kind

MAX_TEXT: Final = 1024
"""Characters of one text in a line; names and reasons come from peers."""

TURN: Final = 60.0
"""Seconds from one call of `tell_suppressed` to the next; so long the bounds on failures hold."""

SELDOM: Final = 10.0
"""Seconds between two lines about connections that cannot be accepted."""

MAX_TRACEBACK: Final = 8192
"""Characters of a traceback in a line; the end is kept, since the cause stands there."""


def set_up(level: str, form: Literal["auto", "console", "json"], stream: TextIO) -> None:
    """Send all that is logged, warned or left uncaught to `stream`, in one form.

    `auto` is console on a terminal, else json. Call once, at the start.
    """
    json = form == "json" or (form == "auto" and not stream.isatty())
    first: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [_bounded, _printable, _console(stream)]
    if json:
        last = [structlog.processors.format_exc_info, _bounded, structlog.processors.JSONRenderer()]
    # Ours go past the logging module, which would have half of what four lines an upload cost.
    structlog.configure(
        processors=[_failures, *first, *last],
        logger_factory=lambda: _Lines(stream),
        wrapper_class=type("Logger", (structlog.make_filtering_bound_logger(level),), {}),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    # The library tells every ping and close at info; they are ours to tell.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    # At debug this one writes out the heads of requests, passwords included.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # While descriptors are short trio tells of it ten times a second, with a traceback.
    logging.getLogger("trio.serve_listeners").addFilter(_Seldom())
    # A stream that is full or gone must not print the logging module's own complaint into it.
    logging.raiseExceptions = False
    _catch_uncaught()


def set_level(level: str) -> None:
    """Let another level hold from now on; loggers that were made and bound before obey too."""
    # What is below the level is an empty method. All loggers are of one class: another base gives
    # it other methods, which costs a call that is written, or not, nothing.
    logger = structlog.get_config()["wrapper_class"]
    logger.__bases__ = (structlog.make_filtering_bound_logger(level),)
    logging.getLogger().setLevel(level.upper())


def tell_suppressed() -> None:
    """Say how many lines were not written since the last call, and begin anew."""
    log = structlog.get_logger()
    for kind, count in _failures.turn().items():
        log.warning(_SUPPRESSED, of=kind.event, code=kind.code, count=count)


class _Failures:
    """Drops lines about failures, and about what comes to nothing, where there are too many."""

    def __init__(self) -> None:
        self._flood = Flood()
        self._lock = threading.Lock()  # the store's threads warn, too

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        name = event["event"]
        begins = name in _BEGINNINGS
        peer, network = event.get("peer"), event.pop("network", None)
        fails = method == "warning" or name in _FAILURES or event.get("stored") is False
        # Who finds a way to make us fail, or a disk that is full, could fill the log with it.
        fails = fails or (method == "error" and peer is not None)
        if name == _SUPPRESSED or not (begins or fails):
            return event
        kind = Kind(name, str(event.get("code", event.get("status", ""))))
        source = network or (OURSELVES if peer is None else network_of_peer(peer))
        with self._lock:
            admits = self._flood.admits_beginning if begins else self._flood.admits_failure
            if admits(kind, source):
                return event
        raise structlog.DropEvent

    def turn(self) -> Mapping[Kind, int]:
        """Begin anew; gives what was dropped."""
        with self._lock:
            return self._flood.turn()


_SUPPRESSED: Final = "log.suppressed"

_BEGINNINGS: Final = {"connection.opened", "upload.started"}

_FAILURES: Final = {"connection.refused", "connection.abandoned"}
"""Failures that are told below warning; `connection.closed` is one if nothing was stored."""

_failures: Final = _Failures()


class _Lines:
    """Writes each line in one piece, from whatever thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # full, gone or closed: an upload goes on without its log

    debug = info = warning = error = critical = msg


def _console(stream: TextIO) -> Processor:
    # Plain tracebacks: the coloured ones show local variables, which may be large, or secret.
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _bounded(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            if key == "exception":
                event[key] = value[-MAX_TRACEBACK:]
            elif len(value) > MAX_TEXT:
                event[key] = value[:MAX_TEXT] + "..."
    return event


class _Seldom(logging.Filter):
    """Lets a line through, without its traceback, if the last one was SELDOM seconds ago."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide by the record's own time."""
        record.exc_info = None
        due = record.created >= self._next
        if due:
            self._next = record.created + SELDOM
        return due


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # A name with escape sequences in it must not reach the terminal. JSON escapes by itself.
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = repr(value)[1:-1]
    return event


def _catch_uncaught() -> None:
    log = structlog.get_logger()

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        log.critical("uncaught", exc_info=(kind, error, trace))

    def unraisable(report: "sys.UnraisableHookArgs") -> None:
        log.error("unraisable", where=repr(report.object), exc_info=report.exc_value)

    def in_thread(report: "threading.ExceptHookArgs") -> None:
        log.error("uncaught", thread=str(report.thread), exc_info=report.exc_value)

    sys.excepthook = uncaught
    sys.unraisablehook = unraisable
    threading.excepthook = in_thread
