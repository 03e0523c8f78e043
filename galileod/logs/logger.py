"""The logger class: the interface of structlog, with one level for all loggers of the process."""

import logging
from typing import Any, ClassVar, Final

import structlog

NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "critical",
}
"""Names of the levels, by their numbers in the logging module."""


class Logger(structlog.BoundLoggerBase):
    """The class of the loggers that `structlog.get_logger()` returns after `set_up`.

    `threshold` is the lowest level that is written. All loggers share it, so that a change takes
    effect for existing loggers, too. A call below it only costs a comparison.
    """

    threshold: ClassVar[int] = logging.INFO

    def debug(self, event: str, **fields: Any) -> None:  # noqa: ANN401  any value can be rendered
        """Log at level debug."""
        if Logger.threshold <= logging.DEBUG:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at level info."""
        if Logger.threshold <= logging.INFO:
            self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at level warning."""
        if Logger.threshold <= logging.WARNING:
            self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at level error."""
        if Logger.threshold <= logging.ERROR:
            self._write("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at level critical."""
        if Logger.threshold <= logging.CRITICAL:
            self._write("critical", event, fields)

    def exception(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at level error, with the traceback of the exception that is being handled."""
        self.error(event, **{"exc_info": True, **fields})

    def log(self, level: int, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Log at `level`, one of NAMES."""
        if level >= Logger.threshold:
            self._write(NAMES[level], event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        try:
            (line,), _ = self._process_event(level, event, fields)
        except structlog.DropEvent:
            return  # suppressed: `Suppression` has counted it
        self._logger.write(line)
