"""`/uploads` of the control socket: lists running and kept uploads, and discards one."""

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import trio

from galileod.ledger.base import KeptUpload, LedgerError
from galileod.net.http11 import Response
from galileod.uploads.context import Context
from galileod.uploads.running import Running

from .exchange import Exchange, busy
from .rows import Row, after, stream_rows


async def answer_uploads(context: Context, _exchange: Exchange) -> Response:
    """One line for each upload: the running ones, then the kept ones, sorted by their ids.

    `offset` are the bytes that the server has, `rate` the average of this connection in bytes per
    second. `began` and `until` are in seconds since the epoch. An upload that changes its state
    meanwhile may be missing.
    """
    running = set[str]()

    async def read(start: str, count: int) -> tuple[Sequence[Row], str | None]:
        rows = list[Row]()
        if not start:
            running.update(context.running)
            rows += map(_running, context.running.values())
        page = await context.ledger.kept_from(start, count)
        rows += [_kept(kept) for kept in page if kept.upload not in running]
        return rows, after(page[-1].upload) if len(page) == count else None

    return stream_rows(read)


async def answer_discard(context: Context, exchange: Exchange) -> Response:
    """Discard the upload in the query.

    404 if it neither runs nor is kept, 409 if all of it has come, and it is being stored.
    """
    query = parse_qs(urlsplit(exchange.request.target).query)
    upload = query.get("upload", [""])[0]
    running = context.running.get(upload)
    if running is not None and running.finished:
        text = "the upload is complete, and is being stored"
        return Response(HTTPStatus.CONFLICT, text, refuses=False)
    if running is not None:
        running.discard.fire()
        return _discarded(upload, running.user)
    try:
        kept = await context.keeper.discard(upload)
    except LedgerError as error:
        return busy(f"{error}")
    if kept is None:
        text = "no upload with this id is running or kept"
        return Response(HTTPStatus.NOT_FOUND, text, refuses=False)
    return _discarded(upload, kept.user)


def _discarded(upload: str, user: str) -> Response:
    return Response(HTTPStatus.OK, f"discarded {upload} of {user}")


def _running(upload: Running) -> Row:
    received, seconds = upload.received(), trio.current_time() - upload.opened
    return {
        "upload": upload.upload,
        "state": "running",
        "user": upload.user,
        "name": upload.name,
        "size": upload.size,
        "offset": received,
        "rate": round((received - upload.resumed_at) / seconds) if seconds > 0 else 0,
        "began": upload.began,
        "until": None,
    }


def _kept(upload: KeptUpload) -> Row:
    return {
        "upload": upload.upload,
        "state": "kept",
        "user": upload.user,
        "name": upload.resumable.name,
        "size": upload.size,
        "offset": upload.offset,
        "rate": None,
        "began": upload.began,
        "until": upload.until,
    }
