"""When a node looks for the uploads of others, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from helpers.ledgers import open_inline_ledger
from helpers.local_store import open_local, put
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from helpers.uploading import of_event
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.daemon.settling import SETTLE_SECONDS, Left, settle_left, unchanged
from galileod.files.publication import lock_for
from galileod.ledger.base import LedgerError, Recovery
from galileod.ledger.lease import LEASE_SECONDS
from galileod.storage.finished import Found, Standing
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

pytestmark = pytest.mark.timeout(20)

LATEST = LEASE_SECONDS + SETTLE_SECONDS
EVENTS = ("node.not_settled", "node.settled")


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


async def test_it_tells_whose_uploads_it_has_settled_though_an_attempt_has_failed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [LedgerError("the database is away")]

    def settle(*_: object) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(FakeNode, "settle", settle)
    monkeypatch.setattr(MemoryStore, "recover", lambda *_, **__: {})
    with capture_logs() as logs:
        async with settling() as node:
            node.leaves = [["three"], ["one", "two"], ["one"]]
            while len(of_event(logs, "node.settled")) < 2:  # noqa: ASYNC110  it is logged
                await trio.sleep(1)  # time goes on while a thread works
    told = [(line["event"], line.get("nodes")) for line in of_event(logs, *EVENTS)]
    assert told == [
        ("node.not_settled", None),
        ("node.settled", ["three", "two"]),
        ("node.settled", ["one"]),
    ]


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


async def test_a_published_file_that_another_node_has_replaced_or_removed_is_not_entered(
    tmp_path: Path,
) -> None:
    with (
        closing(open_local(tmp_path, "replace", node="a")) as mine,
        closing(open_local(tmp_path, "replace", node="b")) as other,
    ):
        names = dict[str, str]()
        for name in ("left", "replaced", "removed"):
            await put(mine, name, f"upload of {name}")
            (now,) = await mine.look([name])
            assert isinstance(now, Standing)
            names[now.identities[0]] = name
        found = mine.scan(names)
        assert found.names == names
        recovery = Recovery({"kept": 5}, {f"upload of {name}": name for name in names.values()})
        await put(other, "replaced", "newer")
        await other.remove(["removed"])
        async with unchanged(mine, lock_for(mine), Left(found, recovery, ())) as there:
            with trio.move_on_after(0.1) as waiting:
                async with lock_for(other).hold(["left"], replaces=True):
                    pass
        assert waiting.cancelled_caught
        left = {one: name for one, name in names.items() if name == "left"}
        assert there == (Found(None, left), Recovery({"kept": 5}, {"upload of left": "left"}))
