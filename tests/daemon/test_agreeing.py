"""The settings of a node are compared with those of the others, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import trio
from attrs import evolve
from helpers.ledgers import open_inline_ledger
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from helpers.uploading import Line, of_event
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.daemon.agreeing import AGREEING, LOOK_SECONDS, compare_settings
from galileod.policy.settings import Quota
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

pytestmark = pytest.mark.timeout(20)

SECOND = LOOK_SECONDS + 1


@asynccontextmanager
async def comparing(node: FakeNode) -> AsyncIterator[Context]:
    node.lease.renewed(1e9)
    with closing(open_inline_ledger()) as ledger:
        pool = MemoryPool(1 << 20, 1 << 10)
        context = Context(Config(), MemoryStore(), ledger, pool, lease=node.lease)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compare_settings, node, context)
            yield context
            nursery.cancel_scope.cancel()


def adopt(context: Context, total_files: int | None = None) -> None:
    context.adopt(evolve(context.config, quota=Quota(total_files=total_files)))


def differing(logs: list[Line]) -> list[tuple[object, object]]:
    return [(line["other"], line["keys"]) for line in of_event(logs, "node.differs")]


async def test_a_node_that_has_other_settings_is_named_with_the_keys_once(
    autojump_clock: MockClock,
) -> None:
    node = FakeNode()
    node.others_have = {
        "same": {"quota.total_files": "None", "storage.on_conflict": "rename"},
        "other": {"quota.total_files": "5", "storage.on_conflict": "replace", "of.later": "1"},
    }
    with capture_logs() as logs:
        async with comparing(node):
            await trio.sleep(10 * SECOND)
    assert differing(logs) == [("other", ["quota.total_files", "storage.on_conflict"])]
    assert len(node.declared) == 1
    assert set(node.declared[0]) == set(AGREEING)


async def test_a_reload_that_changes_them_compares_them_again(autojump_clock: MockClock) -> None:
    node = FakeNode()
    with capture_logs() as logs:
        async with comparing(node) as context:
            await trio.sleep(SECOND)
            node.others_have = {"other": {"quota.total_files": "5"}}
            adopt(context)
            await trio.sleep(SECOND)
            assert differing(logs) == []
            adopt(context, total_files=4)
            await trio.sleep(SECOND)
            adopt(context, total_files=5)
            await trio.sleep(SECOND)
    assert differing(logs) == [("other", ["quota.total_files"])]
    assert [one["quota.total_files"] for one in node.declared] == ["None", "4", "5"]


async def test_while_the_database_is_away_it_is_put_off(autojump_clock: MockClock) -> None:
    node = FakeNode(answers=False, others_have={"other": {"hash.required": "True"}})
    with capture_logs() as logs:
        async with comparing(node):
            await trio.sleep(3 * SECOND)
            assert logs == []
            node.answers = True
            await trio.sleep(SECOND)
    assert differing(logs) == [("other", ["hash.required"])]


def test_no_setting_with_a_secret_or_of_one_machine_is_told() -> None:
    assert {"quota.user_bytes", "resume.keep", "storage.layout", "limits.max_file_size"} < {
        *AGREEING
    }
    parts = {"ledger", "hooks", "tls", "server", "directory", "key_file", "min_free", "s3"}
    assert not [key for key in AGREEING if parts & {*key.split(".")}]
