"""Renders the fields of a line as JSON, or as text for a terminal. Long values are truncated."""

from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .console import Console

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


def console_renderer(stream: TextIO, scheme: str) -> list[Processor]:
    """The last structlog processors for text that people read: see Console."""
    return [structlog.processors.format_exc_info, _cut_long_values, Console(stream, scheme)]


def _cut_long_values(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    for key, value in fields.items():
        if isinstance(value, str):
            if key == "exception":
                fields[key] = value[-MAX_TRACEBACK:]
            elif len(value) > MAX_TEXT:
                fields[key] = value[:MAX_TEXT] + "..."
    return fields
