"""`galileod files`: lists stored files, removes them, and brings the ledger back to the disk."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from posixpath import normpath
from typing import Final
from urllib.parse import urlencode

import click

from galileod.client.formatting import format_time
from galileod.config.model import Config
from galileod.ledger.base import UNKNOWN_USER
from galileod.ledger.records import Selection
from galileod.printable import printable
from galileod.server.files import file_row, matches
from galileod.storage.escaping import escaped
from galileod.storage.state import STATE_DIRECTORY
from galileod.units import human_size, parse_duration

from .control import NotRunningError, Row, ask_rows_one_by_one, seconds_beside
from .ledger_file import open_ledger
from .options import DefaultGroup, daemon_config, daemon_options

MAX_TARGET: Final = 8 * 1024
"""Maximum length of a request's target; further paths are in another request."""

_LINE: Final = "{stored:20}  {user:24} {size:>10}  {path}"


class Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A string. What is not UTF-8 in it is escaped, as in the names of files in the ledger."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click.ParamType."""
        del param, ctx
        return escaped(value)


class Age(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A duration such as 7d, in seconds."""

    name = "age"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See click.ParamType."""
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}", param, ctx)


class _ListByDefault(DefaultGroup):
    default = "list"


@click.group(cls=_ListByDefault)
def files() -> None:
    """List the stored files, and remove some of them. The default command is list."""


@files.command("list")
@daemon_options
@click.option("--user", metavar="USER", type=Text(), help="Only the files of this user.")
@click.option("--since", metavar="AGE", type=Age(), help="Only files stored since then, as in 7d.")
@click.option(
    "--name",
    metavar="GLOB",
    type=Text(),
    help="Only files whose name fits; if GLOB has a slash, whose whole path fits.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_files(
    path: str | None,
    directory: str | None,
    user: str | None,
    since: float | None,
    name: str | None,
    as_json: bool,
) -> None:
    """List the stored files: when each was stored, by whom, its size and its path."""
    config = daemon_config(path, directory)
    selection = Selection(user, None if since is None else time.time() - since)
    rows = _rows(config, selection, name)
    first = list(islice(rows, 1))  # before anything is printed: it may be an error
    rows = chain(first, rows)
    if as_json:
        _print_json(rows)
        return
    click.echo(_LINE.format(stored="stored", user="user", size="size", path="path"))
    for row in rows:
        click.echo(_LINE.format(**_cells(row)))


@files.command()
@daemon_options
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def remove(path: str | None, directory: str | None, paths: tuple[str, ...]) -> None:
    """Remove stored files, and their records in the ledger.

    Each PATH is as the list shows it, or absolute; in object storage it may be a URL (s3://).
    The exit status is 1 if a file could not be removed.
    """
    config = daemon_config(path, directory)
    names, failed = list[str](), False
    for each in paths:
        try:
            names.append(escaped(_below(config.storage.directory, each)))
        except ValueError as error:
            failed = True
            _complain(each, str(error))
    for target in _targets("/files/remove", names):
        for row in ask_rows_one_by_one(config, "POST", target):
            failed |= _print_outcome(row, "removed")
    if failed:
        raise SystemExit(1)


@files.command()
@daemon_options
@click.option(
    "--older-than", metavar="AGE", type=Age(), required=True, help="Stored longer ago, as in 30d."
)
@click.option("--user", metavar="USER", type=Text(), help="Only the files of this user.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
def prune(
    path: str | None, directory: str | None, older_than: float, user: str | None, dry_run: bool
) -> None:
    """Remove the files that were stored longer ago than an age.

    A file that somebody has changed since stays, and so does one that no upload has stored. The
    exit status is 1 if a file could not be removed.
    """
    config = daemon_config(path, directory)
    query = {"until": repr(time.time() - older_than)}
    query |= {"user": user} if user is not None else {}
    query |= {"dry_run": "1"} if dry_run else {}
    failed, count, size = False, 0, 0
    for row in ask_rows_one_by_one(config, "POST", f"/files/prune?{urlencode(query)}"):
        failed |= _print_outcome(row, "would remove" if dry_run else "removed")
        if row["result"] == "removed":
            count, size = count + 1, size + row["size"]
    done = "would be removed" if dry_run else "removed"
    click.echo(f"{count} file{'' if count == 1 else 's'} {done}, {human_size(size)}")
    if failed:
        raise SystemExit(1)


@files.command()
@daemon_options
def rescan(path: str | None, directory: str | None) -> None:
    """Compare the ledger with the stored files, on disk or in the bucket, and wait until it agrees.

    This is for files that were removed, added or changed without galileod.
    """
    last: Row = {}
    for row in ask_rows_one_by_one(daemon_config(path, directory), "POST", "/files/rescan"):
        last = row
    if not last.get("ended"):
        raise click.ClickException("the daemon has not completed the rescan")
    click.echo(
        "files: {files}; gone: {gone}, changed: {changed}, not recorded before: {unknown}"
        " ({seconds:.1f} s)".format(**last)
    )


def _rows(config: Config, selection: Selection, name: str | None) -> Iterator[Row]:
    """The rows of the list, from the daemon, or from the ledger if none runs."""
    query = {"user": selection.user, "since": selection.since, "name": name}
    given = urlencode({key: value for key, value in query.items() if value is not None})
    try:
        seconds = seconds_beside(config)
        yield from ask_rows_one_by_one(config, "GET", f"/files?{given}", seconds, at_once=True)
    except NotRunningError:
        pass
    else:
        return
    with open_ledger(config) as ledger:
        for entry in ledger.files(selection):
            if matches(entry.name, name):
                yield dict(file_row(entry, None))


def _print_json(rows: Iterable[Row]) -> None:
    """One object, printed while the rows come."""
    click.echo('{"files": [', nl=False)
    separator = ""
    for row in rows:
        shown = {**row, **{key: format_time(row[key]) for key in ("stored", "expires")}}
        click.echo(separator + json.dumps(shown), nl=False)
        separator = ", "
    click.echo("]}")


def _print_outcome(row: Row, done: str) -> bool:
    """Print what became of a file; returns whether it could not be removed."""
    path, reason = printable(row["path"]), row["reason"]
    match row["result"]:
        case "removed":
            click.echo(f"{done} {path}")
        case "gone":
            click.echo(f"{path}: was gone already; its record was dropped")
        case "changed":
            click.echo(f"{path}: stays: {printable(reason)}")
        case _:
            _complain(row["path"], reason)
            return True
    return False


def _complain(path: str, reason: str) -> None:
    click.echo(f"galileod: {printable(path)}: {printable(reason)}", err=True)


def _below(directory: str, path: str) -> str:
    """A path as it is in the ledger. Raises ValueError; its message says what is wrong.

    The URL of an object stays as it is: the daemon knows which bucket it uses.
    """
    if path.startswith("s3://"):
        return path
    name = path
    if os.path.isabs(path):
        for root in (os.path.abspath(directory), os.path.realpath(directory)):
            if path.startswith(f"{root}/"):
                name = path[len(root) + 1 :]
                break
        else:
            raise ValueError(f"is not below storage.directory {os.path.abspath(directory)}")
    name = normpath(name)
    if name == "." or path.endswith("/"):
        raise ValueError("is a folder; the path of a file is expected")
    first = name.split("/", 1)[0]
    if os.path.isdir(os.path.join(directory, name)):
        raise ValueError("is a folder; the path of a file is expected")
    if first == "..":
        raise ValueError(f"is not below storage.directory {os.path.abspath(directory)}")
    if first == STATE_DIRECTORY:
        raise ValueError("belongs to galileod itself; the path of a stored file is expected")
    return name


def _targets(path: str, names: Sequence[str]) -> Iterator[str]:
    """The targets of requests for all names."""
    target = ""
    for name in names:
        query = urlencode({"path": name})
        if target and len(target) + len(query) >= MAX_TARGET:
            yield target
            target = ""
        target += f"{'&' if target else f'{path}?'}{query}"
    if target:
        yield target


def _cells(row: Row) -> dict[str, str]:
    return {
        "stored": format_time(row["stored"]) or "-",
        "user": printable(row["user"]) if row["user"] != UNKNOWN_USER else "(unknown)",
        "size": human_size(row["size"]),
        "path": printable(row["path"]),
    }
