"""`GET /usage` of the control socket: what each user holds."""

from collections.abc import Sequence

from attrs import asdict

from galileod.ledger.base import Ledger
from galileod.net.http11 import Response

from .exchange import Exchange
from .rows import Row, after, stream_rows


async def answer_usage(ledger: Ledger, _exchange: Exchange) -> Response:
    """One line for each user, as in `galileod usage --json`, sorted by user.

    Numbers of different users may be of different times.
    """

    async def read(user: str, count: int) -> tuple[Sequence[Row], str | None]:
        page = await ledger.holdings_from(user, count)
        rows = [{"user": each, **asdict(held)} for each, held in page.items()]
        return rows, after(max(page)) if len(page) == count else None

    return stream_rows(read)
