"""Requests are made only while the lease of this node is valid."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.fake_bucket import MIB, FakeClient
from helpers.ledgers import open_inline_ledger
from trio.testing import wait_all_tasks_blocked

from galileod.ledger.lease import Lease, LeaseLostError
from galileod.ledger.objects import ObjectUpload
from galileod.storage.errors import StorageBusyError, StorageError
from galileod.storage.s3.claims import Target
from galileod.storage.s3.removal import remove
from galileod.storage.s3.shared import Shared, Threads, ledger_steps
from galileod.storage.s3.sink import S3Sink
from galileod.uploads.memory import MemoryPool, PoolPartMemory

pytestmark = pytest.mark.timeout(20)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Leased:
    """What all uploads share, with a valid lease, and one thread for requests."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lease = Lease(self.clock)
        self.lease.renewed(0)
        self.made: list[str] = []
        client: Any = FakeClient()
        memory = PoolPartMemory(MemoryPool(8 * MIB, 250_000))
        limited = Threads(requests=trio.CapacityLimiter(1))
        objects = open_inline_ledger().objects
        self.shared = Shared(client, objects, memory, "", "", limited, lease=self.lease)

    def run_out(self) -> None:
        self.clock.now += 1000

    async def request(self, name: str) -> None:
        await self.shared.request(lambda: self.made.append(name))


async def test_a_request_waits_until_the_lease_is_renewed() -> None:
    leased = Leased()
    leased.run_out()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leased.request, "a")
        await wait_all_tasks_blocked(0.01)
        assert not leased.made
        leased.lease.renewed(leased.clock.now)
    assert leased.made == ["a"]


async def test_a_request_that_has_waited_for_a_thread_is_not_made_without_the_lease() -> None:
    leased, busy = Leased(), threading.Event()

    async def occupy() -> None:
        await leased.shared.request(busy.wait)

    async def be_refused() -> None:
        with pytest.raises(StorageBusyError):
            await leased.request("a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupy)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(be_refused)
        await wait_all_tasks_blocked(0.01)
        leased.run_out()
        busy.set()
        await wait_all_tasks_blocked(0.01)
        leased.lease.lose()
    assert not leased.made


async def test_a_check_is_made_without_the_lease() -> None:
    leased = Leased()
    leased.run_out()
    with trio.fail_after(10):
        await leased.shared.request(lambda: None, leased.shared.threads.checkers)


@pytest.mark.parametrize("lost", [False, True])
async def test_nothing_is_removed_of_an_upload_that_another_node_may_continue(
    *, lost: bool
) -> None:
    leased = Leased()
    shared, client = leased.shared, leased.shared.client
    await shared.objects.begin("u", MIB, MIB)
    await shared.objects.claim("u", "a", "rename")
    await shared.objects.created("u", client.create("a", {}))
    if lost:
        leased.lease.lose()
    await remove(shared, "u")
    assert (await shared.objects.get("u") is not None) is lost


class SlowClient(FakeClient):
    """Stores files once it may `go` on."""

    conditional = True

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def put(self, key: str, body: bytearray, metadata: Mapping[str, str], *, new: bool) -> str:
        assert self.go.wait(20)
        return super().put(key, body, metadata, new=new)


async def test_nobody_waits_for_a_publication_when_the_lease_is_lost() -> None:
    """Its request may hang for minutes; the node gets another lease only after that."""
    leased, slow, failed = Leased(), SlowClient(), list[StorageError]()
    client: Any = slow
    shared = evolve(leased.shared, client=client)

    async def publish() -> None:
        known = ObjectUpload("u", 3, MIB)
        await shared.objects.begin("u", 3, MIB)
        sink = S3Sink(shared, Target("u", "a", "rename"), known, 3)
        await sink.make_ready()
        await sink.write([b"abc"])
        try:
            await sink.commit()
        except StorageError as error:
            failed.append(error)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await wait_all_tasks_blocked(0.05)
            assert not failed
            leased.lease.lose()
    slow.go.set()
    (error,) = failed
    assert isinstance(error, StorageBusyError)


async def test_a_step_of_the_ledger_that_is_refused_is_no_failure_of_the_storage() -> None:
    with pytest.raises(StorageBusyError), ledger_steps():
        raise LeaseLostError("another node has taken over")
