"""The log of a process: what a short program writes through `galileod.logs`."""

import json
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from typing import Any, Final

_SET_UP: Final = """
import gc, logging, os, sys, threading, warnings
import structlog
from galileod.logs import setup as logs
logs.set_up({level!r}, {form!r}, sys.stderr)
log = structlog.get_logger()
"""


def run(script: str, level: str = "info", form: str = "json", status: int = 0) -> str:
    """What a process that does `script` writes on standard error."""
    code = _SET_UP.format(level=level, form=form) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        capture_output=True, check=False, timeout=25, text=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == status, done.stderr
    return done.stderr


def lines(script: str, level: str = "info", form: str = "json", status: int = 0) -> list[Any]:
    """The lines of the log; every one must be a whole object, with what each line has."""
    parsed = [json.loads(line) for line in run(script, level, form, status).splitlines()]
    for line in parsed:
        assert isinstance(line, dict)
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == UTC.utcoffset(None)
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert isinstance(line["event"], str)
    return parsed
