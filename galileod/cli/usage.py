"""`galileod usage`: what each user holds, from the running daemon or from the ledger's file."""

import json
import os
from contextlib import closing
from http import HTTPStatus
from typing import Any, Final

import click
from attrs import asdict

from galileod.config import file as config
from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.state import ledger_path

from .control import NotRunningError, ask
from .options import config_option

MAX_BODY: Final = 256 * 1024 * 1024
"""Maximum size of the daemon's response in bytes: more than a million users."""

Row = dict[str, Any]
"""A user and the attributes of the user's Holding."""


@click.command()
@config_option()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def usage(path: str | None, as_json: bool) -> None:
    """Print the stored files and running uploads of each user."""
    directory = config.load(config.find_file(path, os.environ)).storage.directory
    try:
        # On some filesystems its file can be read only as a copy, which takes long if it is large.
        rows = _ask_daemon(directory)
    except NotRunningError:
        rows = _read_file(ledger_path(directory))
    if as_json:
        click.echo(json.dumps({"users": rows}))
        return
    click.echo(f"{'user':40} {'files':>10} {'bytes':>20} {'uploads':>8} {'reserved':>20}")
    for row in rows:
        row["user"] = row["user"] or "(unknown)"
        click.echo("{user:40} {files:10} {bytes:20} {uploads:8} {reserved:20}".format(**row))


def _ask_daemon(directory: str) -> list[Row]:
    """Raises NotRunningError, and click.ClickException for other errors."""
    status, text = ask(directory, "GET", "/usage", max_body=MAX_BODY)
    if status != HTTPStatus.OK:
        raise click.ClickException(f"the daemon responded with status {status}: {text}")
    try:
        rows: list[Row] = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        raise click.ClickException(
            f"the daemon's response cannot be understood: {text[:80]!r}"
        ) from None
    if rows and "error" in rows[-1]:
        raise click.ClickException(f"{ledger_path(directory)}: {rows[-1]['error']}")
    return rows


def _read_file(path: str) -> list[Row]:
    """Raises click.ClickException."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise click.ClickException(
            f"{path}: does not exist: galileod has not been started with this directory, or the"
            " ledger was removed; the next start creates one"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    try:
        with closing(SqliteLedger.open_read_only(path)) as ledger:
            holdings = ledger.holdings()
    except LedgerError as error:
        raise click.ClickException(f"{path}: {error}") from None
    return [{"user": user, **asdict(holding)} for user, holding in holdings.items()]
