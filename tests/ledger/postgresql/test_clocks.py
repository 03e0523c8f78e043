"""Nodes whose clocks are wrong: they remove nothing before its time is over by the database's."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from attrs import define
from helpers.ledgers import allow, keep, names, resumable

from galileod.ledger.base import (
    AlreadyUsedError,
    KeyTakenError,
    Recovery,
    Resumable,
    SingleUse,
    StoredUpload,
)
from galileod.ledger.node import Me
from galileod.ledger.postgresql import Address, PostgresqlLedger, clocks
from galileod.ledger.postgresql.connection import connect
from galileod.ledger.postgresql.node import PostgresqlNode
from galileod.ledger.records import Commit

pytestmark = pytest.mark.timeout(60)

DAY = 86400.0
SOON = 600.0
"""Seconds that no test lasts."""


@define
class Clock:
    """The machine's clock, set forward by `ahead` seconds."""

    ahead: float

    def __call__(self) -> float:
        return time.time() + self.ahead


Open = Callable[[float], PostgresqlLedger]


@pytest.fixture
def open_ahead(address: Address) -> Iterator[Open]:
    """Starts a node whose clock is ahead by so many seconds, or behind."""
    with ExitStack() as opened:

        def start(ahead: float) -> PostgresqlLedger:
            name = f"node{ahead:g}"
            me = Me(name, name.rjust(32, "0"), "1.0", local=False)
            ledger = PostgresqlLedger.open(address, Clock(ahead), me=me)
            opened.callback(ledger.close)
            return ledger

        yield start


def node_of(ledger: PostgresqlLedger) -> PostgresqlNode:
    assert ledger.node is not None
    return ledger.node


async def store(ledger: PostgresqlLedger, name: str, about: Resumable | None = None) -> None:
    await ledger.reserve(name, "anna", 1, allow, resumable=about)
    await ledger.promise(name, "7")
    assert await ledger.commit_whole([Commit(name, name, SOON)]) == [None]


async def expired(ledger: PostgresqlLedger, retention: float) -> list[str]:
    """The names of the files whose time is over for a node."""
    found, cursor = list[str](), ""
    while True:
        page, following = await ledger.expired(retention, cursor, 10)
        found += [each.name for each in page]
        if following is None:
            return found
        cursor = following


@pytest.mark.parametrize("ahead", [0, 2 * DAY, -2 * DAY])
async def test_a_node_knows_at_once_and_later_by_how_much_its_clock_is_wrong(
    open_ahead: Open, ahead: float
) -> None:
    node = node_of(open_ahead(ahead))
    assert node.ahead == pytest.approx(ahead, abs=SOON)
    node.ahead = 1e9
    assert await node.renew()
    assert node.ahead == pytest.approx(ahead, abs=SOON)
    assert (node.ahead == 0) == (ahead == 0)


@pytest.mark.parametrize("jump", [10.0, -10.0])
async def test_a_clock_that_is_set_while_it_is_compared_tells_nothing(
    open_ahead: Open, address: Address, jump: float
) -> None:
    clock = Clock(0)

    def set_when_read() -> float:
        clock.ahead += jump
        return clock()

    with connect(address) as connection:
        assert clocks.ahead(connection, set_when_read) is None


@pytest.mark.parametrize("wrong", [2 * DAY, -2 * DAY])
async def test_files_stay_for_their_time_whichever_clock_is_wrong(
    open_ahead: Open, wrong: float
) -> None:
    right, other = open_ahead(0), open_ahead(wrong)
    await store(right, "a")
    await store(other, "b")
    for ledger in (right, other):
        assert await expired(ledger, DAY) == []
    if wrong > 0:
        assert await expired(other, 0) == ["a"]  # now by the clock of the database
    else:
        assert await expired(right, 0) == ["a", "b"]


@pytest.mark.parametrize("wrong", [2 * DAY, -2 * DAY])
async def test_kept_uploads_stay_for_their_time_whichever_clock_is_wrong(
    open_ahead: Open, wrong: float
) -> None:
    right, other = open_ahead(0), open_ahead(wrong)
    await keep(right, "u1", seconds=SOON)
    await keep(other, "u2", seconds=SOON)
    for ledger in (right, other):
        assert await ledger.expire(10) == []
    await keep(right, "u3", seconds=0)
    expiring = other if wrong > 0 else right
    assert names(await expiring.expire(10)) == ["u3"]


@pytest.mark.parametrize("wrong", [2 * DAY, -2 * DAY])
async def test_stored_uploads_are_known_for_their_time_whichever_clock_is_wrong(
    open_ahead: Open, wrong: float
) -> None:
    right, other = open_ahead(0), open_ahead(wrong)
    await store(right, "a", resumable("of a"))
    await store(other, "b", resumable("of b"))
    for ledger in (right, other):
        await ledger.expire(10)
        for name in ("a", "b"):
            key = f"of {name}"
            assert await ledger.find(key) == StoredUpload(f"metadata of {key}", name)
            with pytest.raises(KeyTakenError):
                await ledger.reserve("again", "anna", 1, allow, resumable=resumable(key))


async def test_a_start_with_a_clock_that_is_behind_forgets_no_key_too_early(
    open_ahead: Open,
) -> None:
    right, behind = open_ahead(0), open_ahead(-2 * DAY)
    await store(right, "a", resumable("of a"))
    await keep(right, "u1", seconds=SOON)
    behind.reconcile(None, {}, recovery=Recovery(seconds=SOON))
    assert await right.find("of a") is not None
    assert names(await right.kept_from("", 10)) == ["u1"]


@pytest.mark.parametrize("ahead", [7200, -7200])
async def test_a_ticket_is_used_once_also_if_a_clock_is_wrong(
    open_ahead: Open, ahead: float
) -> None:
    right, other = open_ahead(0), open_ahead(ahead)
    ticket = SingleUse("t1", time.time() + SOON)
    await right.reserve("u1", "anna", 1, allow, ticket)
    await other.reserve("u2", "anna", 1, allow, SingleUse("t2", time.time() + 3 * 3600))
    with pytest.raises(AlreadyUsedError):
        await right.reserve("u3", "anna", 1, allow, ticket)
