"""`/healthz` where storage and ledger work, or do not, and where every upload is refused."""

import pytest
import trio
from attrs import evolve
from helpers.ledgers import allow
from helpers.memory_store import MemoryStore
from helpers.uploading import raising, sleeping
from helpers.wire import Wire, serving
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.ledger.lease import Lease
from galileod.policy.settings import Quota
from galileod.server.health import HEALTH_SECONDS
from galileod.storage.errors import StorageError, UnavailableError
from galileod.units import Size

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Disk(MemoryStore):
    """A store with so much space left; None if it knows of no limit."""

    space: int | None = 1000

    async def free(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return self.space


async def reason(wire: Wire) -> str | None:
    """Why the daemon is not healthy; None if it is."""
    head, _, body = (await wire.request(HEALTH)).partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 "):
        assert body == b"ok\n"
        return None
    assert head.startswith(b"HTTP/1.1 503 ")
    return body.decode().removesuffix("\n")


def keep_free(wire: Wire, min_free: int) -> None:
    config = wire.context.config
    storage = evolve(config.storage, min_free=Size(min_free))
    wire.context.adopt(evolve(config, storage=storage))


async def store(wire: Wire, disk: MemoryStore, name: str, size: int) -> None:
    await wire.ledger.reserve(name, "anna", size, allow)
    disk.contents[name] = bytes(size)
    await wire.ledger.commit(name, name)


async def test_it_fails_while_less_is_free_than_must_stay_free(autojump_clock: MockClock) -> None:
    disk = Disk()
    async with serving(disk) as wire:
        keep_free(wire, 999)
        assert await reason(wire) is None
        keep_free(wire, 1000)
        assert await reason(wire) == (
            "Uploads are refused. The disk has 1000 bytes of free space;"
            " storage.min_free keeps 1000 bytes free."
        )
        disk.space = 1001
        assert await reason(wire) is None
        disk.space = 0
        keep_free(wire, 0)
        assert await reason(wire) == "Uploads are refused. The disk has 0 bytes of free space."
        disk.space = None
        assert await reason(wire) is None


async def test_what_running_uploads_will_use_is_no_failure(autojump_clock: MockClock) -> None:
    disk = Disk()
    async with serving(disk, Config(quota=Quota(total_bytes=Size(1000)))) as wire:
        client = await wire.open()
        await client.send({"name": "all", "size": 1000})
        assert (await client.receive())["ready"]
        assert await reason(wire) is None
        other = await wire.open()
        await other.send({"name": "more", "size": 1})
        assert (await other.receive())["code"] == "no_space"
        await client.close()
        await other.close()
        await wire.all_ended()


async def test_it_fails_while_the_stored_files_use_up_a_quota_for_all(
    autojump_clock: MockClock,
) -> None:
    quota = Quota(total_bytes=Size(1000), total_files=2)
    disk = MemoryStore()
    async with serving(disk, Config(quota=quota)) as wire:
        await store(wire, disk, "a", 999)
        assert await reason(wire) is None
        await store(wire, disk, "b", 0)
        assert await reason(wire) == (
            "Uploads are refused. quota.total_files is 2, and 2 files are stored."
        )
        wire.context.adopt(evolve(wire.context.config, quota=Quota(total_bytes=Size(999))))
        assert await reason(wire) == (
            "Uploads are refused. quota.total_bytes is 999, and 999 bytes are stored."
        )
        wire.context.adopt(evolve(wire.context.config, quota=Quota()))
        assert await reason(wire) is None


@pytest.mark.parametrize("method", ["check", "total"])
async def test_it_fails_while_the_ledger_fails(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with serving(MemoryStore()) as wire:
        with monkeypatch.context() as patch:
            broken = raising(LedgerError("the ledger cannot be used: disk I/O error"))
            patch.setattr(wire.ledger, method, broken)
            assert await reason(wire) == (
                "The storage does not work: the ledger cannot be used: disk I/O error."
            )
        assert await reason(wire) is None


@pytest.mark.parametrize("method", ["check", "total"])
async def test_a_ledger_that_does_not_answer_is_not_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with serving(MemoryStore()) as wire:
        monkeypatch.setattr(wire.ledger, method, sleeping(9999))
        began = trio.current_time()
        assert await reason(wire) == "The ledger does not answer within 5 seconds."
        assert trio.current_time() == pytest.approx(began + HEALTH_SECONDS)


async def test_where_the_storage_is_stands_in_the_log_alone_once_for_each_reason(
    autojump_clock: MockClock,
) -> None:
    class Bucket(MemoryStore):
        """A store that fails with `error`."""

        error: StorageError | None = None

        async def check(self) -> None:
            await trio.lowlevel.checkpoint()
            if self.error is not None:
                raise self.error

    store = Bucket()
    gone = StorageError("the bucket does not exist", " (at https://s3.example.org)")
    away = UnavailableError("it cannot be reached", " (at https://s3.example.org)")
    with capture_logs() as logs:
        async with serving(store) as wire:
            for store.error in (gone, gone, away, None, away, StorageError("no place")):
                said = f"The storage does not work: {store.error and store.error.reason}."
                assert await reason(wire) == (said if store.error else None)
    lines = [
        (line["log_level"], line["reason"]) for line in logs if line["event"] == "storage.failing"
    ]
    assert lines == [("warning", str(error)) for error in (gone, away, away)]


async def test_it_fails_while_the_lease_of_the_node_has_run_out(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        lease = wire.context.lease = Lease(trio.current_time)
        assert await reason(wire) == "The lease of this node has run out: nothing can be stored."
        with pytest.MonkeyPatch.context() as patch:
            gone = LedgerError("the database cannot be reached", ": at 192.0.2.1")
            patch.setattr(wire.ledger, "check", raising(gone))
            told = "The lease of this node has run out: the database cannot be reached."
            assert await reason(wire) == told
            patch.setattr(wire.ledger, "check", sleeping(HEALTH_SECONDS + 1))
            told = (
                "The lease of this node has run out: the ledger does not answer within 5 seconds."
            )
            assert await reason(wire) == told
        lease.renewed(lease.now())
        assert await reason(wire) is None
        lease.lose()
        assert await reason(wire) == "The lease of this node is lost: nothing can be stored."
