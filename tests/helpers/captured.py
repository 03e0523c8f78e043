"""Log lines within this process, with their tracebacks as text."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.testing import capture_logs


@contextmanager
def captured_tracebacks() -> Iterator[list[MutableMapping[str, Any]]]:
    """`capture_logs` that formats exceptions; structlog has this itself since 25.5."""
    with capture_logs() as logs:
        # The list that loggers hold, which `capture_logs` restores.
        structlog.get_config()["processors"].insert(0, structlog.processors.format_exc_info)
        yield logs
