"""`galileod check-config --connect`."""

from pathlib import Path

from helpers.daemon import run_galileod


def connected(config: Path) -> tuple[int, list[str], list[str]]:
    """The exit status, and the lines of both streams, without warnings."""
    ended = run_galileod("check-config", "--connect", "--config", config)
    errors = [line for line in ended.stderr.splitlines() if "warning" not in line]
    return ended.returncode, ended.stdout.splitlines(), errors
