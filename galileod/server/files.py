"""`/files` of the control socket: lists stored files, removes them, and rescans the directory."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from galileod.files.removal import Outcome
from galileod.ledger.records import FileEntry, Selection
from galileod.net.http11 import Response
from galileod.uploads.context import Context

from .exchange import Exchange
from .rows import Row, stream, stream_rows

PAGE: Final = 64
"""Files of `prune` that are read from the ledger at once."""


async def answer_files(context: Context, exchange: Exchange) -> Response:
    """One line for each file of the query: `user`, `since` (seconds since the epoch), `name`.

    `expires` is as the configuration in force says, unless the file has a retention of its own.
    """
    query = _query(exchange)
    try:
        selection = _selection(query)
    except ValueError:
        return _bad("a number of seconds is expected")
    pattern = query.get("name")

    async def read(cursor: str, count: int) -> tuple[Sequence[Row], str | None]:
        entries, following = await context.ledger.files_from(selection, cursor, count)
        retention = context.config.storage.retention
        rows = [file_row(each, retention) for each in entries if matches(each.name, pattern)]
        return rows, following

    return stream_rows(read)


async def answer_remove(context: Context, exchange: Exchange) -> Response:
    """Remove each `path` of the query; one line for each says what became of it.

    A path may begin with the location of the store, as it does in the log.
    """
    paths = parse_qs(urlsplit(exchange.request.target).query).get("path", [])
    names = [path.removeprefix(f"{context.store.location}/") for path in paths]

    async def rows() -> AsyncGenerator[Row, None]:
        for outcome in await context.remover.remove_named(names):
            yield _outcome_row(outcome)

    return stream(rows())


async def answer_prune(context: Context, exchange: Exchange) -> Response:
    """Remove the files that were stored before `until`; one line for each.

    With `user` only those of that user; with `dry_run` nothing is removed.
    """
    query = _query(exchange)
    try:
        selection = _selection(query)
    except ValueError:
        return _bad("a number of seconds is expected")
    if selection.until is None:
        return _bad("until is missing")

    async def rows() -> AsyncGenerator[Row, None]:
        cursor: str | None = ""
        while cursor is not None:
            entries, cursor = await context.ledger.files_from(selection, cursor, PAGE)
            if query.get("dry_run"):
                outcomes = await context.remover.look(entries)
            else:
                outcomes = await context.remover.remove_recorded(entries, "removed")
            for outcome in outcomes:
                yield _outcome_row(outcome)

    return stream(rows())


async def answer_rescan(context: Context, _exchange: Exchange) -> Response:
    """Rescan the directory; lines with the progress, the last of which has `ended`."""

    async def rows() -> AsyncGenerator[Row, None]:
        async with aclosing(context.rescanner.rescan()) as steps:
            async for done in steps:
                yield {
                    "records": done.records,
                    "files": done.files,
                    "gone": done.differences.gone,
                    "changed": done.differences.changed,
                    "unknown": done.differences.unknown,
                    "seconds": round(done.seconds, 3),
                    "ended": done.ended,
                }

    return stream(rows())


def matches(path: str, pattern: str | None) -> bool:
    """Whether a pattern fits: one without a slash the name of the file, any other the path."""
    if pattern is None:
        return True
    return fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern)


def file_row(entry: FileEntry, retention: float | None) -> Row:
    """The line about a file, for which `retention` applies if it has none of its own."""
    expires = entry.expires
    if expires is None and retention is not None and entry.stored is not None:
        expires = entry.stored + retention
    return {
        "path": entry.name,
        "user": entry.user,
        "size": entry.size,
        "sha1": entry.sha1,
        "stored": entry.stored,
        "expires": expires,
        "sent": entry.sent,
        "folder": entry.folder,
        "modified": entry.modified,
        "upload": entry.upload,
        "ticket": entry.ticket,
        "meta": None if entry.meta is None else json.loads(entry.meta),
    }


def _outcome_row(outcome: Outcome) -> Row:
    return {
        "path": outcome.name,
        "result": outcome.result,
        "user": outcome.user,
        "size": outcome.size,
        "reason": outcome.reason,
    }


def _query(exchange: Exchange) -> Mapping[str, str]:
    query = parse_qs(urlsplit(exchange.request.target).query, keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def _selection(query: Mapping[str, str]) -> Selection:
    """Raises ValueError."""
    since, until = (float(query[key]) if key in query else None for key in ("since", "until"))
    return Selection(query.get("user"), since, until)


def _bad(text: str) -> Response:
    return Response(HTTPStatus.BAD_REQUEST, text, refuses=False)
