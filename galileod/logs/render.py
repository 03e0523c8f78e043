"""Renders the fields of a line as JSON, or as text for a terminal. Long values are truncated."""

from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_TEXT: Final = 1024
"""Maximum characters of a string in a line: clients choose names and parts of reasons."""

MAX_TRACEBACK: Final = 8192
"""Maximum characters of a traceback in a line. The end is kept: it has the exception."""


def json_renderer() -> list[Processor]:
    """The last structlog processors for one JSON object per line."""
    return [
        structlog.processors.format_exc_info,
        _cut_long_values,
        structlog.processors.JSONRenderer(),
    ]


def console_renderer(stream: TextIO) -> list[Processor]:
    """The last structlog processors for readable text, in colours if `stream` is a terminal."""
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        # structlog's default tracebacks show local variables, which may be large or secret.
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_cut_long_values, _escape_unprintable, console]


def _cut_long_values(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    for key, value in fields.items():
        if isinstance(value, str):
            if key == "exception":
                fields[key] = value[-MAX_TRACEBACK:]
            elif len(value) > MAX_TEXT:
                fields[key] = value[:MAX_TEXT] + "..."
    return fields


def _escape_unprintable(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    # Escape sequences in file names must not reach the terminal. The JSON renderer escapes them.
    for key, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            fields[key] = repr(value)[1:-1]
    return fields
