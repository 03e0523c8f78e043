"""`galileod usage`: what each user holds, from the running daemon or from the ledger's file."""

import json
import os
from contextlib import closing
from typing import Final

import click
from attrs import asdict

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.state import ledger_path

from .control import NotRunningError, Row, ask_rows
from .options import daemon_directory, daemon_options

_LINE: Final = (
    "{user:40} {files:>10} {bytes:>20} {uploads:>8} {reserved:>20} {kept_uploads:>12} {kept:>20}"
)


@click.command()
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def usage(path: str | None, directory: str | None, as_json: bool) -> None:
    """Print the stored files, running uploads and interrupted uploads of each user."""
    where = daemon_directory(path, directory)
    try:
        # On some filesystems its file can be read only as a copy, which takes long if it is large.
        rows = ask_rows(where, "/usage")
    except NotRunningError:
        rows = _read_file(ledger_path(where))
    if as_json:
        click.echo(json.dumps({"users": rows}))
        return
    names = ("user", "files", "bytes", "uploads", "reserved", "kept_uploads", "kept")
    click.echo(_LINE.format(**{name: name for name in names}))
    for row in rows:
        click.echo(_LINE.format(**{**row, "user": row["user"] or "(unknown)"}))


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
