"""Configures the log: JSON lines on standard error, or text if that is a terminal."""

import atexit
import logging
import sys
import threading
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from .logger import Logger
from .output import IntervalFilter, Output, OutputHandler
from .render import console_renderer, json_renderer
from .settings import LogFormat, LogLevel
from .suppression import Suppression

SUPPRESSION_SECONDS: Final = 60.0
"""Period of the limits on repeated lines in seconds; `log_suppressed` must be called this often."""

_log: FilteringBoundLogger = structlog.get_logger()
_suppression: Final = Suppression()


class _Node:
    """A processor that adds the name of this node, if it has one."""

    name: str | None = None

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        if self.name is not None:
            fields["node"] = self.name
        return fields


_node: Final = _Node()


def set_up(level: LogLevel, form: LogFormat, stream: TextIO, scheme: str = "http") -> None:
    """Write log lines, warnings and uncaught exceptions to `stream`, in the format `form`.

    `auto` is console if `stream` is a terminal, else json. In the console format, listening
    addresses are URLs with `scheme`. Must be called once, at the start. The lines are written by a
    thread; the exit of the process waits a limited time for the last ones.
    """
    json = form == "json" or (form == "auto" and not stream.isatty())
    renderer = json_renderer() if json else console_renderer(stream, scheme)
    output = Output(stream, _dropped_line)
    atexit.register(output.close)
    stamp: list[Processor] = [
        _node,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The daemon's own lines do not pass through the logging module, which would double the cost.
    structlog.configure(
        processors=[_suppression, *stamp, *renderer],
        logger_factory=lambda: output,
        wrapper_class=Logger,
        cache_logger_on_first_use=True,
    )
    _capture_logging_module(output, stamp, renderer)
    set_level(level)
    _capture_uncaught()


def set_level(level: LogLevel) -> None:
    """Write only lines of `level` or above from now on. Applies to existing loggers, too."""
    number = logging.getLevelNamesMapping()[level.upper()]
    Logger.threshold = number
    logging.getLogger().setLevel(number)


def set_node(name: str | None) -> None:
    """Add the name of this node to all lines from now on; None: to none."""
    _node.name = name


def log_suppressed() -> None:
    """Log the number of lines suppressed since the last call, and start a new period."""
    for kind, count in _suppression.restart().items():
        _log.warning("log.suppressed", of=kind.event, code=kind.code, count=count)


class _Rendered:
    """Keeps the line that a logger writes to it."""

    line = ""

    def write(self, line: str) -> None:
        self.line = line


def _dropped_line(count: int) -> str:
    """The line that reports `count` dropped lines; empty if the level excludes it."""
    rendered = _Rendered()
    log: FilteringBoundLogger = structlog.wrap_logger(rendered)
    log.warning("log.dropped", count=count)
    return rendered.line


def _capture_logging_module(
    output: Output, stamp: list[Processor], renderer: list[Processor]
) -> None:
    """Write log records and warnings of libraries to `output`, in the same format."""
    handler = OutputHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamp,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)
    # At lower levels it logs every ping and close.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    # At lower levels it logs the heads of requests, which may contain passwords.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # If the process has no free descriptor, trio logs a traceback ten times per second.
    logging.getLogger("trio.serve_listeners").addFilter(IntervalFilter())
    # Otherwise, if the module cannot format a record, it prints a traceback to standard error.
    logging.raiseExceptions = False


def _capture_uncaught() -> None:
    """Log uncaught exceptions of the program, of threads and of finalizers."""

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _log.critical("uncaught", exc_info=(kind, error, trace))

    def in_thread(report: "threading.ExceptHookArgs") -> None:
        _log.error("uncaught", thread=str(report.thread), exc_info=report.exc_value)

    def unraisable(report: "sys.UnraisableHookArgs") -> None:
        _log.error("unraisable", where=repr(report.object), exc_info=report.exc_value)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
