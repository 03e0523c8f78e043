"""When a node looks for the uploads of others, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import trio
from helpers.ledgers import open_inline_ledger
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.daemon.settling import SETTLE_SECONDS, settle_left
from galileod.ledger.lease import LEASE_SECONDS
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

pytestmark = pytest.mark.timeout(20)

LATEST = LEASE_SECONDS + SETTLE_SECONDS


@asynccontextmanager
async def settling() -> AsyncIterator[FakeNode]:
    """A node whose lease is renewed as long as its database answers."""
    node = FakeNode()

    async def renew() -> None:
        while True:
            if node.answers:
                node.lease.renewed(node.lease.now())
            await trio.sleep(1)

    with closing(open_inline_ledger()) as ledger:
        context = Context(
            Config(), MemoryStore(), ledger, MemoryPool(1 << 20, 1 << 10), lease=node.lease
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(renew)
            nursery.start_soon(settle_left, node, context)
            yield node
            nursery.cancel_scope.cancel()


async def test_a_node_takes_none_for_dead_before_it_has_had_its_lease_as_long(
    autojump_clock: MockClock,
) -> None:
    async with settling() as node:
        began = trio.current_time()
        await trio.sleep(LATEST + 1)
    assert node.adopted
    assert LEASE_SECONDS <= node.adopted[0] - began <= LATEST


async def test_after_an_outage_of_the_database_the_others_have_time_to_come_back(
    autojump_clock: MockClock,
) -> None:
    async with settling() as node:
        await trio.sleep(100)
        node.answers = False
        await trio.sleep(100)
        node.answers = True
        back = trio.current_time()
        node.adopted.clear()
        await trio.sleep(LATEST + SETTLE_SECONDS)
    assert node.adopted
    assert node.adopted[0] - back >= LEASE_SECONDS - SETTLE_SECONDS


async def test_a_failure_is_logged_once(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with settling() as node:
            await trio.sleep(LEASE_SECONDS)
            node.answers = False
            await trio.sleep(LEASE_SECONDS / 2)
            node.answers = True
    assert [line["event"] for line in logs] == ["node.not_settled"]
