"""`GET /usage` of the control socket: what each user holds, one JSON object per line."""

import json
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

import trio
from attrs import asdict

from galileod.ledger.base import Ledger, LedgerError
from galileod.net.http11 import ByteStream, Response

from .exchange import Exchange

PAGE: Final = 500
"""Maximum users per access to the ledger, so that uploads wait for milliseconds at most."""

PAGE_SECONDS: Final = 10.0
"""Time limit in seconds for one access to the ledger."""


async def answer_usage(ledger: Ledger, _exchange: Exchange) -> Response:
    """One line for each user, as in `galileod usage --json`, sorted by user.

    Numbers of different users may be of different times. If the ledger cannot be read, the last
    line is an object with the key "error".
    """
    return Response(
        HTTPStatus.OK, ByteStream(_lines(ledger)), {"Content-Type": "application/x-ndjson"}
    )


async def _lines(ledger: Ledger) -> AsyncGenerator[bytes, None]:
    user = ""
    while True:
        try:
            with trio.fail_after(PAGE_SECONDS):
                page = await ledger.holdings_from(user, PAGE)
        except (LedgerError, trio.TooSlowError) as error:
            late = f"the ledger cannot be read: the disk did not respond within {PAGE_SECONDS:g} s"
            yield _line({"error": str(error) if isinstance(error, LedgerError) else late})
            return
        yield b"".join(_line({"user": user, **asdict(held)}) for user, held in page.items())
        if len(page) < PAGE:
            return
        user = max(page) + "\0"  # the first string that sorts after the last user


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"
