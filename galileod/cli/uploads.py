"""`galileod uploads`: lists the running and the kept uploads of the daemon, and discards one."""

import json
import time
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import click

from galileod.client.formatting import format_duration, format_rate, format_time
from galileod.printable import printable
from galileod.units import human_size

from .control import Row, ask, ask_rows, check_status
from .options import DefaultGroup, daemon_config, daemon_options

_LINE: Final = (
    "{upload:16}  {state:7}  {user:24} {size:>10} {progress:>8} {rate:>13} {age:>9} {left:>9}"
    "  {node}{name}"
)

_COLUMNS: Final = ("upload", "state", "user", "size", "progress", "rate", "age", "left", "name")

_NODE: Final = "{:12}  "
"""The column with the node, which is printed where there are nodes."""


class _ListByDefault(DefaultGroup):
    default = "list"


@click.group(cls=_ListByDefault)
def uploads() -> None:
    """List the uploads of the running daemon, and discard one. The default command is list."""


@uploads.command("list")
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_uploads(path: str | None, directory: str | None, as_json: bool) -> None:
    """List the running uploads, and the interrupted ones that are kept."""
    config = daemon_config(path, directory)
    rows = ask_rows(config, "/uploads")
    if as_json:
        shown = [
            {**row, **{key: format_time(row[key]) for key in ("began", "until")}} for row in rows
        ]
        click.echo(json.dumps({"uploads": shown}))
        return
    column = _NODE if config.ledger.node_name is not None else ""
    names = {name: name for name in _COLUMNS}
    click.echo(_LINE.format(**names, node=column.format("node")))
    now = time.time()
    for row in rows:
        # A daemon that was started before an upgrade does not tell it.
        node = column.format(row.get("node") or "-")
        click.echo(_LINE.format(**_cells(row, now), node=node))


@uploads.command()
@daemon_options
@click.argument("upload")
def discard(path: str | None, directory: str | None, upload: str) -> None:
    """Discard what the daemon has of UPLOAD, an id from the list; end it if it is running."""
    target = f"/uploads/discard?{urlencode({'upload': upload})}"
    status, text = ask(daemon_config(path, directory), "POST", target)
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
        raise click.ClickException(f"{upload!r}: {text}")
    check_status(status, text)
    click.echo(printable(text))


def _cells(row: Row, now: float) -> dict[str, str]:
    size, rate, began, until = row["size"], row["rate"], row["began"], row["until"]
    return {
        "upload": row["upload"],
        "state": row["state"],
        "user": printable(row["user"]),
        "size": human_size(size),
        "progress": f"{row['offset'] / size:.1%}" if size else "-",
        "rate": "-" if rate is None else format_rate(rate, 1),
        "age": "-" if began is None else format_duration(max(0.0, now - began)),
        "left": "-" if until is None else format_duration(max(0.0, until - now)),
        "name": printable(row["name"]),
    }
