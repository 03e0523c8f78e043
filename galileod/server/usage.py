"""`GET /usage` of the control socket: what each user holds."""

from collections.abc import Collection, Mapping, Sequence

from attrs import asdict, evolve

from galileod.net.http11 import Response
from galileod.policy.quota import Holding
from galileod.uploads.context import Context
from galileod.uploads.reservation import Reservation

from .exchange import Exchange
from .rows import Row, after, stream_rows


async def answer_usage(context: Context, _exchange: Exchange) -> Response:
    """One line for each user, as in `galileod usage --json`, sorted by user.

    Numbers of different users may be of different times.
    """

    async def read(user: str, count: int) -> tuple[Sequence[Row], str | None]:
        page = await context.ledger.holdings_from(user, count)
        last = max(page) if len(page) == count else None
        held = _with_small(page, context.admission.running, user, last)
        rows = [{"user": each, **asdict(held[each])} for each in sorted(held)]
        return rows, None if last is None else after(last)

    return stream_rows(read)


def _with_small(
    page: Mapping[str, Holding], running: Collection[Reservation], first: str, last: str | None
) -> dict[str, Holding]:
    """The page, and the running uploads of its users that are not in the ledger: small files."""
    held = dict(page)
    for each in running:
        user = each.upload.grant.user
        if not each.reserved and first <= user and (last is None or user <= last):
            known = held.get(user, Holding())
            held[user] = evolve(
                known,
                reserved=known.reserved + each.upload.metadata.size,
                uploads=known.uploads + 1,
            )
    return held
