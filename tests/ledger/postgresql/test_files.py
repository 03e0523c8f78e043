"""What a ledger in PostgreSQL knows of files beyond the contract."""

import random
from collections.abc import Iterator
from contextlib import closing

import pytest
from helpers.ledgers import allow

from galileod.ledger.base import Ledger
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.files import MOST_INDEXED
from galileod.ledger.records import About, Commit, Wanted
from galileod.policy.quota import Holding

pytestmark = pytest.mark.timeout(60)


def text(length: int) -> str:
    """A text of so many bytes, which cannot be compressed."""
    of_two_bytes = [chr(code) for code in range(0x100, 0x700)]
    return "".join(random.choices(of_two_bytes, k=length // 2)) + "a" * (length % 2)


@pytest.fixture
def ledger(address: Address) -> Iterator[Ledger]:
    with closing(PostgresqlLedger.open(address)) as ledger:
        yield ledger


async def test_a_file_whose_name_is_too_long_for_an_index_is_left_out(ledger: Ledger) -> None:
    found = {text(MOST_INDEXED): 1, text(MOST_INDEXED + 1): 2, text(4000): 4, "b": 8}
    assert await ledger.enter_found(list(found.items())) == 2
    assert (await ledger.total()).bytes == 9
    ledger.reconcile(found, {})
    assert (await ledger.total()).bytes == 9


async def test_an_upload_whose_file_has_too_long_a_name_does_not_keep_others_from_their_records(
    ledger: Ledger,
) -> None:
    names = [text(ledger.longest_name or 0), text(4000), "b"]
    for name in names:
        await ledger.reserve(name[:9], "anna", 5, allow)
    assert await ledger.commit_whole([Commit(name[:9], name) for name in names]) == [None] * 3
    assert set(await ledger.entries(names)) == {names[0], "b"}
    assert ledger.holdings() == {"anna": Holding(bytes=10, files=2)}


@pytest.mark.parametrize("more", [0, 1])
async def test_a_place_that_is_too_long_for_an_index_is_not_found_by(
    ledger: Ledger, more: int
) -> None:
    place, user = text(2289), text(MOST_INDEXED - 2289 + more)
    await ledger.reserve("u1", user, 5, allow, about=About("a", None, place))
    await ledger.commit("u1", "a")
    found = await ledger.find_files(user, [Wanted(place, 5)])
    assert len(found) == 1 - more
    (entry,) = (await ledger.entries(["a"])).values()
    assert (entry.user, entry.sent) == (user, "a")
