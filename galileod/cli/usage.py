"""`galileod usage`: what each user holds, from the running daemon or from the ledger."""

import json
from typing import Final

import click
from attrs import asdict

from galileod.config.model import Config

from .control import NotRunningError, Row, ask_rows, seconds_beside
from .ledger_file import open_ledger
from .options import daemon_config, daemon_options

_LINE: Final = (
    "{user:40} {files:>10} {bytes:>20} {uploads:>8} {reserved:>20} {kept_uploads:>12} {kept:>20}"
)


@click.command()
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def usage(path: str | None, directory: str | None, as_json: bool) -> None:
    """Print the stored files, running uploads and interrupted uploads of each user."""
    config = daemon_config(path, directory)
    try:
        # On some filesystems its file can be read only as a copy, which takes long if it is large.
        rows = ask_rows(config, "/usage", seconds_beside(config))
    except NotRunningError:
        rows = _read_ledger(config)
    if as_json:
        click.echo(json.dumps({"users": rows}))
        return
    names = ("user", "files", "bytes", "uploads", "reserved", "kept_uploads", "kept")
    click.echo(_LINE.format(**{name: name for name in names}))
    for row in rows:
        click.echo(_LINE.format(**{**row, "user": row["user"] or "(unknown)"}))


def _read_ledger(config: Config) -> list[Row]:
    """Raises click.ClickException."""
    with open_ledger(config) as ledger:
        holdings = ledger.holdings()
    return [{"user": user, **asdict(holding)} for user, holding in holdings.items()]
