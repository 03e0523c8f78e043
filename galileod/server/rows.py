"""Lists in responses: one JSON object per line, read from the ledger a page at a time."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import trio

from galileod.ledger.base import LedgerError
from galileod.net.http11 import ByteStream, Response
from galileod.storage.errors import StorageError

PAGE: Final = 500
"""Maximum entries per access to the ledger, so that uploads wait for milliseconds at most."""

PAGE_SECONDS: Final = 10.0
"""Time limit in seconds for one access to the ledger."""

Row = Mapping[str, object]

ReadPage = Callable[[str, int], Awaitable[tuple[Sequence[Row], str | None]]]
"""Gets the key from which on entries are read, first the empty string, and their maximum number.

Returns the rows, and the key for the next page; None if there is none. Raises LedgerError."""


def stream_rows(read_page: ReadPage) -> Response:
    """The response with all rows. If the ledger fails, the last one has the key "error"."""
    headers = {"Content-Type": "application/x-ndjson"}
    return Response(HTTPStatus.OK, ByteStream(_lines(read_page)), headers)


def stream(rows: AsyncGenerator[Row, None]) -> Response:
    """`stream_rows` for rows that are made one by one; what makes them may raise StorageError too.

    The last row then has `of` beside the error: it is not the ledger that has failed.
    No time limit applies: each row may take as long as it needs.
    """

    async def lines() -> AsyncGenerator[bytes, None]:
        async with aclosing(rows):
            try:
                async for row in rows:
                    yield _line(row)
            except LedgerError as error:
                yield _line({"error": str(error)})
            except StorageError as error:
                yield _line({"error": str(error), "of": "storage"})

    headers = {"Content-Type": "application/x-ndjson"}
    return Response(HTTPStatus.OK, ByteStream(lines()), headers)


def after(key: str) -> str:
    """The first string that sorts after `key`."""
    return key + "\0"


async def _lines(read_page: ReadPage) -> AsyncGenerator[bytes, None]:
    start: str | None = ""
    while start is not None:
        try:
            with trio.fail_after(PAGE_SECONDS):
                rows, start = await read_page(start, PAGE)
        except (LedgerError, trio.TooSlowError) as error:
            late = f"the ledger cannot be read: it has not answered within {PAGE_SECONDS:g} s"
            yield _line({"error": str(error) if isinstance(error, LedgerError) else late})
            return
        yield b"".join(map(_line, rows))


def _line(row: Row) -> bytes:
    return json.dumps(row).encode() + b"\n"
