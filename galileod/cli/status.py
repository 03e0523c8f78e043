"""`galileod status`: how the running daemon, its storage and its ledger are."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from galileod.client.formatting import format_duration, format_time, plural
from galileod.ledger.node import CLOCKS_APART
from galileod.printable import printable
from galileod.units import human_size

from .control import ask, check_status
from .options import daemon_config, daemon_options

ANSWER_SECONDS: Final = 15.0
"""Time limit for the response in seconds. The daemon takes about 5 if its storage hangs."""


@click.command()
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def status(path: str | None, directory: str | None, as_json: bool) -> None:
    """Print how the running daemon, its storage and its ledger are.

    The exit status is 1 if it cannot store files at present, or does not run.
    """
    code, text = ask(daemon_config(path, directory), "GET", "/status", ANSWER_SECONDS)
    check_status(code, text)
    found: dict[str, Any] = json.loads(text)
    if as_json:
        click.echo(json.dumps({**found, "started": format_time(found["started"])}))
    else:
        for name, value in _lines(found, time.time()):
            click.echo(f"{name:12} {printable(value)}")
    if not found["healthy"]:
        raise SystemExit(1)


def _lines(found: dict[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Names and values, in the order in which they are printed."""
    yield "state", "ok" if found["healthy"] else found["reason"]
    yield "version", f"{found['version']}, process {found['pid']}"
    age = format_duration(max(0.0, now - found["started"]))
    yield "since", f"{format_time(found['started'])} ({age})"
    if node := found["node"]:
        yield "node", f"{node['name']}, lease {node['lease']}"
        if abs(node["clock_ahead"]) > CLOCKS_APART:
            yield "clock", _apart(node["clock_ahead"])
    yield "listening", ", ".join(found["listen"])
    yield "connections", str(found["connections"])
    uploads, stored, storage = found["uploads"], found["stored"], found["storage"]
    yield "uploads", f"{uploads['running']} running, {_kept(uploads)}"
    yield "stored", _amount(stored["files"], "file", stored["bytes"])
    free = "" if storage["free"] is None else f", {human_size(storage['free'])} free"
    yield "storage", f"{storage['backend']}, {_checked(storage)}{free}"
    yield "ledger", _checked(found["ledger"])


def _apart(ahead: float) -> str:
    side = "ahead of" if ahead > 0 else "behind"
    return f"{format_duration(abs(ahead))} {side} that of the database"


def _kept(uploads: dict[str, Any]) -> str:
    count = uploads["kept"]
    size = f" ({human_size(uploads['kept_bytes'])})" if count else ""
    return f"{'unknown' if count is None else count} kept{size}"


def _amount(count: int | None, noun: str, size: int) -> str:
    return "unknown" if count is None else f"{plural(count, noun)}, {human_size(size)}"


def _checked(part: dict[str, Any]) -> str:
    return f"{part['place']}: {part['error'] or 'ok'}"
