"""The task that keeps the lease of this node, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise

import pytest
import trio
from helpers.ledgers import open_inline_ledger
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.daemon.node import LOOK_SECONDS, keep_lease, keep_lease_at_start
from galileod.ledger.lease import LEASE_SECONDS, RENEW_SECONDS, LeaseLostError
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

pytestmark = pytest.mark.timeout(20)


@asynccontextmanager
async def keeping() -> AsyncIterator[FakeNode]:
    node = FakeNode()
    node.lease.renewed(node.lease.now())
    with closing(open_inline_ledger()) as ledger:
        context = Context(
            Config(), MemoryStore(), ledger, MemoryPool(1 << 20, 1 << 10), lease=node.lease
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_lease, node, context)
            yield node
            nursery.cancel_scope.cancel()


async def test_the_lease_stays_valid_while_the_database_answers(autojump_clock: MockClock) -> None:
    async with keeping() as node:
        for _ in range(600):
            await trio.sleep(0.1)
            assert node.lease.is_valid()
    between = [later - earlier for earlier, later in pairwise(node.renewals)]
    assert between
    assert all(RENEW_SECONDS <= one <= RENEW_SECONDS + 2 * LOOK_SECONDS for one in between)


async def test_one_request_that_fails_does_not_end_it(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with keeping() as node:
            await trio.sleep(RENEW_SECONDS)
            node.answers = False
            await trio.sleep(2 * LOOK_SECONDS)
            node.answers = True
            for _ in range(200):
                await trio.sleep(0.1)
                assert node.lease.is_valid()
    assert not logs


async def test_it_runs_out_without_the_database_and_is_valid_soon_after(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with keeping() as node:
            node.answers = False
            await trio.sleep(100)
            assert node.lease.state() == "run out"
            node.answers = True
            await trio.sleep(2 * LOOK_SECONDS)
            assert node.lease.is_valid()
    assert [line["event"] for line in logs] == ["lease.run_out", "lease.renewed"]


async def test_a_node_whose_lease_is_lost_begins_anew_when_nothing_uses_it_any_more(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with keeping() as node:
            with node.lease.using():
                node.taken = True
                await trio.sleep(100)
                assert node.lease.state() == "lost"
                assert not node.begun
            await trio.sleep(2 * LOOK_SECONDS)
            assert node.lease.is_valid()
            assert len(node.begun) == 1
            await trio.sleep(3 * LEASE_SECONDS)
            assert len(node.begun) == 1
    assert [line["event"] for line in logs] == ["lease.lost", "lease.renewed"]


async def test_a_lease_that_a_copy_has_taken_is_told_with_its_machine_and_then_why(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with keeping() as node:
            node.answers = False
            await trio.sleep(20)
            node.answers, node.taken, node.taken_on = True, True, "clone"
            node.refused = "one directory is a copy of the other"
            await trio.sleep(100)
            assert node.lease.state() == "lost"
            node.refused = None
            await trio.sleep(2 * LOOK_SECONDS)
            assert node.lease.is_valid()
    assert [(line["event"], line.get("host") or line.get("reason")) for line in logs] == [
        ("lease.run_out", "the database is away"), ("lease.lost", "clone"),
        ("lease.run_out", "one directory is a copy of the other"), ("lease.renewed", None),
    ]  # fmt: skip


async def test_a_lost_lease_is_begun_anew_once_the_database_answers(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with keeping() as node:
            with node.lease.using():
                node.taken = True
                await trio.sleep(2 * RENEW_SECONDS)
                node.answers = False
            await trio.sleep(100)
            assert node.lease.state() == "lost"
            node.answers = True
            await trio.sleep(2 * LOOK_SECONDS)
            assert node.lease.is_valid()
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("lease.lost", None), ("lease.run_out", "the database is away"), ("lease.renewed", None),
    ]  # fmt: skip


async def test_a_start_ends_if_another_process_takes_the_place_of_the_node(
    autojump_clock: MockClock,
) -> None:
    node = FakeNode()
    node.lease.renewed(node.lease.now())
    with trio.move_on_after(5 * LEASE_SECONDS) as starting:
        await keep_lease_at_start(node)
    assert starting.cancelled_caught
    assert node.lease.is_valid()
    node.taken, node.taken_on = True, "clone"
    with trio.fail_after(LEASE_SECONDS), pytest.raises(LeaseLostError, match="process, on clone,"):
        await keep_lease_at_start(node)
