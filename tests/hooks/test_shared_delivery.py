"""Deliveries of two nodes that share a ledger."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import trio
from helpers.ledgers import store

from galileod.hooks import delivery
from galileod.hooks.delivery import Delivery, Receipt
from galileod.hooks.settings import Hook, HookError, Hooks
from galileod.ledger.base import Ledger
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.metrics import Metrics
from galileod.shutdown import Shutdown
from galileod.units import Duration

pytestmark = pytest.mark.timeout(60)

HOOKS = Hooks(stored=("notify",), parallel=3, timeout=Duration(5))


@pytest.fixture
def nodes(ledger_url: str) -> Iterator[tuple[Ledger, Ledger]]:
    address = Address(ledger_url)
    with (
        closing(PostgresqlLedger.open(address)) as one,
        closing(PostgresqlLedger.open(address)) as other,
    ):
        yield one, other


def delivering(ledger: Ledger, send: Callable[[str], None]) -> Delivery:
    async def attempt(_hooks: Hooks, _hook: Hook, receipt: Receipt) -> None:
        send(str(receipt["name"]))
        await trio.lowlevel.checkpoint()

    return Delivery(ledger.outbox, lambda: HOOKS, Metrics(), Shutdown(), "/files", attempt)


async def owe(ledger: Ledger, *names: str) -> None:
    for name in names:
        await store(ledger, name, receipt=json.dumps({"id": name, "upload": name}))


async def all_delivered(nodes: tuple[Ledger, Ledger]) -> None:
    with trio.fail_after(50):
        while await nodes[0].outbox.count():
            for ledger in nodes:
                ledger.outbox.notify()


async def test_each_receipt_is_sent_by_one_of_the_nodes(nodes: tuple[Ledger, Ledger]) -> None:
    names = [f"{number:02}" for number in range(40)]
    await owe(nodes[0], *names)
    told: list[list[str]] = [[], []]
    async with trio.open_nursery() as nursery:
        for ledger, names_told in zip(nodes, told, strict=True):
            nursery.start_soon(delivering(ledger, names_told.append).run)
        await all_delivered(nodes)
        nursery.cancel_scope.cancel()
    assert sorted(told[0] + told[1]) == names
    assert all(told), "both have work"


async def test_a_receipt_that_one_node_cannot_deliver_is_attempted_again_once_it_is_due(
    nodes: tuple[Ledger, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "wait", lambda _attempt, _chance: 0.0)
    await owe(nodes[0], "a")
    attempts = list[int]()

    def send(node: int) -> Callable[[str], None]:
        def fail_twice(_name: str) -> None:
            attempts.append(node)
            if len(attempts) < 3:
                raise HookError("no")

        return fail_twice

    async with trio.open_nursery() as nursery:
        for node, ledger in enumerate(nodes):
            nursery.start_soon(delivering(ledger, send(node)).run)
        await all_delivered(nodes)
        nursery.cancel_scope.cancel()
    assert len(attempts) == 3


async def test_what_a_node_was_sending_when_it_died_is_sent_by_the_other(
    nodes: tuple[Ledger, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "HOLD_MARGIN", 1e-6 - HOOKS.timeout)
    await owe(nodes[0], "a")
    one, other = nodes
    told = list[str]()
    async with trio.open_nursery() as dying:
        dying.start_soon(delivering(one, lambda _: dying.cancel_scope.cancel()).run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivering(other, told.append).run)
        await all_delivered(nodes)
        nursery.cancel_scope.cancel()
    assert told == ["a"]
