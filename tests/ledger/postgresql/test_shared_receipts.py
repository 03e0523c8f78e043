"""Receipts of two ledgers of one database, as of two nodes."""

from functools import partial

import pytest
from helpers.at_once import at_once
from helpers.clocks import FakeClock
from helpers.ledgers import store

from galileod.ledger.base import Ledger
from galileod.ledger.outbox import Outbox, Owed

pytestmark = pytest.mark.timeout(60)

HOLD = 600.0
"""Longer than a test takes."""

NO_TIME = 1e-7
"""A hold that is over before the next statement."""


async def deliver_all(outbox: Outbox, most: int) -> list[str]:
    """What a node delivers until nothing is left for it."""
    names = list[str]()
    while owed := await outbox.first(most, hold=HOLD):
        for one in owed:
            names.append(one.name)
            await outbox.delivered(one.number)
    return names


async def owed_by(ledger: Ledger) -> list[tuple[str, int]]:
    """Names and failed attempts of what a node may deliver."""
    return [(one.name, one.attempts) for one in await ledger.outbox.first(100)]


async def test_a_receipt_is_delivered_by_one_node(nodes: tuple[Ledger, Ledger]) -> None:
    names = [f"{number:03}" for number in range(100)]
    await store(nodes[0], *names, receipt="{}")
    delivered = await at_once(*(partial(deliver_all, ledger.outbox, 3) for ledger in nodes))
    assert sorted(delivered[0] + delivered[1]) == names
    assert await nodes[0].outbox.count() == 0


async def test_what_a_node_holds_is_left_out_at_the_other_and_not_at_that_one(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", "b", "c", receipt="{}")
    held = await one.first(2, hold=HOLD)
    assert [owed.name for owed in held] == ["a", "b"]
    assert [owed.name for owed in await other.first(9)] == ["c"]
    assert [owed.name for owed in await one.first(9)] == ["a", "b", "c"]
    assert await other.count() == 3


async def test_only_what_is_due_is_held(nodes: tuple[Ledger, Ledger], clock: FakeClock) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", "b", receipt="{}")
    (first, _) = await one.first(2)
    await one.postpone(first.number, 10)
    assert [owed.name for owed in await one.first(2, hold=HOLD)] == ["b", "a"]
    assert [(owed.name, owed.wait) for owed in await other.first(2, hold=HOLD)] == [("a", 10.0)]
    clock.now += 10
    assert [owed.name for owed in await other.first(2, hold=HOLD)] == ["a"]
    assert [owed.name for owed in await one.first(2)] == ["b"]


async def test_a_failed_attempt_lets_any_node_make_the_next(
    nodes: tuple[Ledger, Ledger], clock: FakeClock
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", receipt="{}")
    (owed,) = await one.first(1, hold=HOLD)
    await one.postpone(owed.number, 5)
    clock.now += 5
    assert await other.first(1) == [Owed(owed.number, "a", "{}", 1, 0.0)]


async def test_what_a_node_held_that_has_died_is_delivered_by_another(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = (ledger.outbox for ledger in nodes)
    await store(nodes[0], "a", receipt="{}")
    (owed,) = await one.first(1, hold=NO_TIME)
    assert await other.first(1, hold=HOLD) == [owed]
    # It was only slow. Its failure does not count, since an attempt of the other one runs.
    await one.postpone(owed.number, None)
    assert await one.first(1) == []
    assert await other.first(1) == [owed]
    # But its success does.
    await one.delivered(owed.number)
    assert await other.count() == 0


async def test_the_start_of_a_node_leaves_what_another_one_works_on(
    nodes: tuple[Ledger, Ledger],
) -> None:
    one, other = nodes
    await store(one, "a", "b", receipt="{}")
    for owed in await one.outbox.first(2):
        await one.outbox.postpone(owed.number, 0)
    await one.outbox.first(1, hold=HOLD)
    other.reconcile(None, {})
    assert await owed_by(one) == [("b", 0), ("a", 1)]
    assert await owed_by(other) == [("b", 0)]
