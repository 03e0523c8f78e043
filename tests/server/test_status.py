"""`/status` of the control socket: what it tells of a daemon that works, or does not."""

import json
import os
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.controlling import STARTED, Controlled, controlled
from helpers.ledgers import allow, keep
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from helpers.uploading import raising, sleeping
from trio.testing import MockClock

from galileod import __version__
from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.net.settings import Server
from galileod.policy.settings import Quota
from galileod.server.status import LOOK_SECONDS
from galileod.storage.errors import StorageError
from galileod.units import Size

STATUS = b"GET /status HTTP/1.0\r\nHost: x\r\n\r\n"


class Disk(MemoryStore):
    """A store with a limit."""

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return 1000


async def told(host: Controlled) -> dict[str, Any]:
    head, _, body = (await host.ask(STATUS)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    found: dict[str, Any] = json.loads(body)
    assert found["healthy"] == (found["reason"] is None)
    return found


async def test_it_tells_all_of_a_daemon_that_works() -> None:
    store = Disk()
    async with controlled(store=store) as host:
        await host.ledger.reserve("a", "anna", 7, allow)
        await host.ledger.commit("a", "a")
        await keep(host.ledger, "b", "anna", 100, 40)
        client = await host.wire.open()
        await client.send({"name": "c", "size": 1000})
        assert (await client.receive())["ready"]
        found = await told(host)
        assert found.pop("ledger")["error"] is None
        assert found == {
            "healthy": True,
            "reason": None,
            "version": __version__,
            "pid": os.getpid(),
            "started": STARTED,
            "node": None,
            "listen": ["127.0.0.1:8750"],
            "draining": False,
            "connections": 1,
            "uploads": {"running": 1, "kept": 1, "kept_bytes": 40},
            "stored": {"files": 1, "bytes": 7},
            "storage": {"backend": "local", "place": "/memory", "error": None, "free": 1000},
        }
        await client.close()
        await host.wire.all_ended()


async def test_it_tells_where_the_storage_is_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled() as host:
        error = StorageError("the bucket does not exist", " (at https://s3.example.org)")
        monkeypatch.setattr(host.wire.context.store, "check", raising(error))
        found = await told(host)
        assert found["reason"] == "The storage does not work: the bucket does not exist."
        assert found["storage"]["error"] == str(error)
        assert found["ledger"]["error"] is None


async def test_it_tells_what_is_known_while_the_ledger_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controlled() as host:
        with monkeypatch.context() as patch:
            for method in ("check", "total"):
                patch.setattr(host.ledger, method, raising(LedgerError("it is away", ": db1")))
            found = await told(host)
        assert found["reason"] == "The storage does not work: it is away."
        assert found["ledger"]["error"] == "it is away: db1"
        assert found["storage"]["error"] is None
        assert found["uploads"] == {"running": 0, "kept": None, "kept_bytes": None}
        assert found["stored"] == {"files": None, "bytes": None}


async def test_it_answers_in_time_while_all_hangs(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled() as host:
        with monkeypatch.context() as patch:
            for method in ("check", "free"):
                patch.setattr(host.wire.context.store, method, sleeping(3600))
            for method in ("check", "total"):
                patch.setattr(host.ledger, method, sleeping(3600))
            began = trio.current_time()
            found = await told(host)
            assert trio.current_time() - began <= LOOK_SECONDS + 1
        hangs = f"no answer within {LOOK_SECONDS:g} seconds"
        assert (found["storage"]["error"], found["ledger"]["error"]) == (hangs, hangs)
        assert found["storage"]["free"] is None
        assert found["reason"] == f"The storage does not answer within {LOOK_SECONDS:g} seconds."


async def test_the_reason_is_the_one_of_the_health_check() -> None:
    quota = Quota(total_files=1)
    config = Config(quota=quota, server=Server(max_connections=1))
    store = MemoryStore()
    async with controlled(store=store, config=config) as host:
        store.contents["a"] = bytes(7)
        await host.ledger.reserve("a", "anna", 7, allow)
        await host.ledger.commit("a", "a")
        said = "Uploads are refused. quota.total_files is 1, and 1 files are stored."
        assert (await told(host))["reason"] == said
        client = host.wire.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert (await told(host))["reason"] == "All connections are in use."
        await client.stream.aclose()
        await host.wire.all_ended()
        host.wire.context.adopt(evolve(config, quota=Quota(total_bytes=Size(100))))
        assert (await told(host))["reason"] is None
        host.wire.shutdown.no_new_uploads.fire()
        found = await told(host)
        assert (found["reason"], found["draining"]) == ("The server is shutting down.", True)


async def test_it_tells_the_node_and_its_lease() -> None:
    async with controlled() as host:
        node = FakeNode()
        host.ledger.node = node
        host.wire.context.lease = node.lease
        found = await told(host)
        assert found["node"] == {"name": "one", "lease": "run out", "clock_ahead": 0}
        assert found["reason"] == "The lease of this node has run out: nothing can be stored."
        node.lease.renewed(node.lease.now())
        found = await told(host)
        assert (found["node"]["lease"], found["reason"]) == ("valid", None)
        host.ledger.node = None
