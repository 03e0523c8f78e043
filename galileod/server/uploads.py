"""`/uploads` of the control socket: lists running and kept uploads, and discards one."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import trio

from galileod.ledger.base import KeptUpload, LedgerError
from galileod.ledger.elsewhere import RunningThere
from galileod.net.http11 import Response
from galileod.uploads.context import Context
from galileod.uploads.handover import DISCARD_SECONDS
from galileod.uploads.running import Running

from .exchange import Exchange, busy
from .rows import Row, after, stream_rows

_ELSEWHERE: Final = " "
"""Precedes an id in the key of a page of uploads at other nodes: no id has a space."""

_COMPLETE: Final = "the upload is complete, and is being stored"


async def answer_uploads(context: Context, _exchange: Exchange) -> Response:
    """One line for each upload: running ones, kept ones, and those that run at other nodes.

    The last two are sorted by their ids. `offset` are the bytes that the server has, `rate` the
    average of this connection in bytes per second. `began` and `until` are in seconds since the
    epoch. Of uploads at other nodes, only what is in the ledger is known: `offset` is what is
    durable, `rate` is null, and `began` too if it cannot be resumed. An upload that changes its
    state meanwhile may be missing.
    """
    running, elsewhere = set[str](), context.ledger.elsewhere

    async def read(start: str, count: int) -> tuple[Sequence[Row], str | None]:
        if elsewhere is not None and start.startswith(_ELSEWHERE):
            there = await elsewhere.running_from(start.removeprefix(_ELSEWHERE), count)
            rows = [_there(each) for each in there if each.upload not in running]
            full = len(there) == count
            return rows, _ELSEWHERE + after(there[-1].upload) if full else None
        rows = []
        if not start:
            running.update(context.running)
            node = context.ledger.node
            name = None if node is None else node.name
            rows += [_running(each, name) for each in context.running.values()]
        page = await context.ledger.kept_from(start, count)
        rows += [_kept(kept) for kept in page if kept.upload not in running]
        if len(page) == count:
            return rows, after(page[-1].upload)
        return rows, None if elsewhere is None else _ELSEWHERE

    return stream_rows(read)


async def answer_discard(context: Context, exchange: Exchange) -> Response:
    """Discard the upload in the query.

    404 if it neither runs nor is kept. 409 if all of it has come, and it is being stored, or if the
    node that runs it does not answer.
    """
    query = parse_qs(urlsplit(exchange.request.target).query)
    upload = query.get("upload", [""])[0]
    running = context.running.get(upload)
    if running is not None and running.finished:
        return _conflict(_COMPLETE)
    if running is not None:
        running.discard.fire()
        return _discarded(upload, running.user)
    try:
        return await _discard_elsewhere(context, upload)
    except LedgerError as error:
        return busy(f"{error}")


async def _discard_elsewhere(context: Context, upload: str) -> Response:
    """Discard an upload that is kept, or that another node runs. Raises LedgerError."""
    kept = await context.keeper.discard(upload)
    if kept is None and (asked := await context.handover.discard(upload)) is not None:
        there, outcome = asked
        match outcome:
            case "discarded":
                return _discarded(upload, there.user)
            case "complete":
                return _conflict(_COMPLETE)
            case "running":
                return _conflict(
                    f'it runs at the node "{there.node}", which has not answered within'
                    f" {DISCARD_SECONDS:g} s; if that node is dead, try again in half a minute,"
                    " when its uploads are settled"
                )
            case "ended":
                kept = await context.keeper.discard(upload)
    if kept is None:
        text = "no upload with this id is running or kept"
        return Response(HTTPStatus.NOT_FOUND, text, refuses=False)
    return _discarded(upload, kept.user)


def _conflict(text: str) -> Response:
    return Response(HTTPStatus.CONFLICT, text, refuses=False)


def _discarded(upload: str, user: str) -> Response:
    return Response(HTTPStatus.OK, f"discarded {upload} of {user}")


def _running(upload: Running, node: str | None) -> Row:
    received, seconds = upload.received(), trio.current_time() - upload.opened
    rate = round((received - upload.resumed_at) / seconds) if seconds > 0 else 0
    return _row(upload, received, rate, node)


def _there(upload: RunningThere) -> Row:
    return _row(upload, upload.durable, None, upload.node)


def _row(upload: Running | RunningThere, offset: int, rate: int | None, node: str | None) -> Row:
    return {
        "upload": upload.upload,
        "state": "running",
        "user": upload.user,
        "name": upload.name,
        "size": upload.size,
        "offset": offset,
        "rate": rate,
        "began": upload.began,
        "until": None,
        "node": node,
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
        "node": None,
    }
