"""Setting up the log: one JSON object a line on standard error, or text at a terminal."""

import logging
import sys
import threading
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from .logger import Logger
from .output import Output, OutputHandler, SeldomFilter
from .render import console_renderer, json_renderer
from .settings import LogFormat, LogLevel
from .suppression import Suppression

SUPPRESSION_SECONDS: Final = 60.0
"""The limits on repeated lines hold for so long: `log_suppressed` is to be called that often."""

_log: FilteringBoundLogger = structlog.get_logger()
_suppression: Final = Suppression()


def set_up(level: LogLevel, form: LogFormat, stream: TextIO) -> None:
    """Send everything that is logged, warned or left uncaught to `stream`, in one form.

    `auto` is console on a terminal, else json. Call once, at the start.
    """
    json = form == "json" or (form == "auto" and not stream.isatty())
    renderer = json_renderer() if json else console_renderer(stream)
    output = Output(stream)
    stamp: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The daemon's own lines bypass the logging module, which would double their cost.
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
    """Write lines from `level` up from now on; loggers that exist already follow."""
    number = logging.getLevelNamesMapping()[level.upper()]
    Logger.threshold = number
    logging.getLogger().setLevel(number)


def log_suppressed() -> None:
    """Log how many lines were suppressed since the last call, and start a new period."""
    for kind, count in _suppression.restart().items():
        _log.warning("log.suppressed", of=kind.event, code=kind.code, count=count)


def _capture_logging_module(
    output: Output, stamp: list[Processor], renderer: list[Processor]
) -> None:
    """Send what libraries log and warn to `output`, in the form of the daemon's own lines."""
    handler = OutputHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamp,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)
    # Below warning it logs every ping and close.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    # At debug it logs the heads of requests, passwords included.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # While the process is out of descriptors, trio logs a traceback ten times a second.
    logging.getLogger("trio.serve_listeners").addFilter(SeldomFilter())
    # The module would report a record that it cannot format on standard error, which is the log.
    logging.raiseExceptions = False


def _capture_uncaught() -> None:
    """Log exceptions that reach the top of the program or of a thread, or arise in a finalizer."""

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
