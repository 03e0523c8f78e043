"""Small files on connections of their own: received into memory, and stored together."""

from collections.abc import Sequence

import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA, SHA1, hash_of, of_event
from helpers.wire import Wire, WireClient, serving
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.policy.settings import Chunks, Limits, Quota
from galileod.storage.errors import NoSpaceError, StorageError
from galileod.storage.settings import Storage
from galileod.storage.whole import WholeFile, Written
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)


class CountingStore(MemoryStore):
    """Tells which files were written together; writing takes `seconds`, and may fail."""

    def __init__(self, seconds: float = 0, error: StorageError | None = None) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self._seconds = seconds
        self._error = error

    async def write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        self.batches.append([file.path for file in files])
        await trio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        return await super().write_whole(files)


async def begin(wire: Wire, name: str, data: bytes = DATA) -> WireClient:
    """An upload whose data has come, and which is asked for `finished`."""
    client = await wire.open()
    await client.send({"name": name, "size": len(data)})
    assert await client.receive() == {"ready": True, "chunksize": len(data)}
    await client.send_bytes(data)
    assert await client.receive() == {"ready": True}
    return client


async def test_nothing_is_written_before_all_has_come(autojump_clock: MockClock) -> None:
    store = CountingStore()
    async with serving(store) as wire:
        client = await begin(wire, "a")
        assert (store.batches, store.open_sinks) == ([], 0)
        await client.send({"finished": True, **hash_of("sha1", SHA1)})
        assert await client.receive() == {"close": True}
    assert (store.batches, store.contents) == ([["a"]], {"a": DATA})


async def test_files_that_come_while_others_are_stored_are_stored_together(
    autojump_clock: MockClock,
) -> None:
    store = CountingStore(seconds=1)
    names = [f"{number}" for number in range(8)]
    async with serving(store) as wire:
        clients = [await begin(wire, name) for name in names]
        for client in clients:
            await client.send({"finished": True})
            await trio.testing.wait_all_tasks_blocked()
        for client in clients:
            assert await client.receive() == {"close": True}
    assert [len(batch) for batch in store.batches] == [1, 1, 6]
    assert store.contents == dict.fromkeys(names, DATA)


async def test_one_wrong_hash_does_not_affect_the_others(autojump_clock: MockClock) -> None:
    store = CountingStore(seconds=1)
    async with serving(store) as wire:
        clients = [await begin(wire, f"{number}") for number in range(5)]
        for number, client in enumerate(clients):
            value = "00" * 20 if number == 3 else SHA1
            await client.send({"finished": True, **hash_of("sha1", value)})
            await trio.testing.wait_all_tasks_blocked()
        codes = [(await client.receive()).get("code") for client in clients]
    assert codes == [None, None, None, "hash_mismatch", None]
    assert store.contents.keys() == {"0", "1", "2", "4"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(NoSpaceError("the disk is full"), "no_space"), (StorageError("on fire"), "storage_failed")],
)
async def test_a_storage_that_fails_fails_each_upload(
    autojump_clock: MockClock, error: StorageError, code: str
) -> None:
    with capture_logs() as logs:
        async with serving(CountingStore(error=error)) as wire:
            client = await begin(wire, "a")
            await client.send({"finished": True})
            signal = await client.receive()
            assert (signal["code"], signal["fatal"]) == (code, True)
            assert await client.closed() == (1008, code)
    (line,) = of_event(logs, "upload.failed")
    assert (line["code"], line["received"]) == (code, len(DATA))


async def test_a_quota_is_checked_before_the_data_comes(autojump_clock: MockClock) -> None:
    config = Config(quota=Quota(user_uploads=1))
    async with serving(MemoryStore(), config) as wire:
        first = await begin(wire, "a")
        second = await wire.open()
        await second.send({"name": "b", "size": 1})
        assert (await second.receive())["code"] == "quota_exceeded"
        await first.send({"finished": True})
        assert await first.receive() == {"close": True}
        third = await wire.open()
        assert await third.upload("c", b"1") == {"close": True}


async def test_a_name_that_is_taken_is_refused_before_the_data_comes(
    autojump_clock: MockClock,
) -> None:
    class Asking(MemoryStore):
        async def admit(self, path: str, on_conflict: str) -> None:
            self._refuse_conflict(path, on_conflict)  # type: ignore[arg-type]

    store = Asking("reject")
    store.contents["a"] = b""
    async with serving(store, Config(storage=Storage(on_conflict="reject"))) as wire:
        client = await wire.open()
        await client.send({"name": "a", "size": 1})
        assert (await client.receive())["code"] == "conflict"


async def test_small_chunks_of_a_small_file_are_taken_one_after_the_other(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        client = await wire.open()
        await client.send({"name": "a", "size": 5})
        for chunk, left in ((b"ab", 5), (b"", 3), (b"cd", 3), (b"e", 1)):
            assert await client.receive() == {"ready": True, "chunksize": left}
            await client.send_bytes(chunk)
        assert await client.receive() == {"ready": True}
        await client.send({"finished": True})
        assert await client.receive() == {"close": True}
    assert store.contents == {"a": b"abcde"}


async def test_a_small_file_that_does_not_come_is_silence(autojump_clock: MockClock) -> None:
    config = Config(limits=Limits(min_rate=Size(0)))
    async with serving(MemoryStore(), config) as wire:
        client = await wire.open()
        await client.send({"name": "a", "size": 5})
        assert (await client.receive())["ready"]
        assert (await client.receive())["code"] == "idle"


async def test_other_signals_do_not_extend_the_time_for_finished(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        client = await begin(wire, "a")
        began = trio.current_time()
        for _ in range(3):
            await trio.sleep(19)
            await client.send({"hello": True})
        signal = await client.receive()
        assert signal["code"] == "idle"
        assert trio.current_time() - began == pytest.approx(60)


async def test_a_daemon_that_stops_ends_small_uploads_that_are_not_finished(
    autojump_clock: MockClock,
) -> None:
    store = CountingStore(seconds=5)
    async with serving(store) as wire:
        finished, unfinished = await begin(wire, "a"), await begin(wire, "b")
        await finished.send({"finished": True})
        await trio.sleep(1)
        wire.shutdown.no_new_uploads.fire()
        wire.shutdown.no_uploads.fire()
        assert (await unfinished.receive())["code"] == "shutting_down"
        assert await finished.receive() == {"close": True}
    assert store.contents == {"a": DATA}


async def test_a_file_is_not_small_while_memory_is_short(autojump_clock: MockClock) -> None:
    chunks = Chunks(memory=Size(3 * len(DATA)), min=Size(len(DATA)), max=Size(len(DATA)))
    async with serving(store := CountingStore(), Config(chunks=chunks)) as wire:
        wire.context.pool.share.take(2 * len(DATA))
        client = await begin(wire, "a")
        assert store.open_sinks == 1
        await client.send({"finished": True})
        assert await client.receive() == {"close": True}
        wire.context.pool.give_back(2 * len(DATA))


async def test_the_log_has_the_beginning_and_the_end_of_a_small_upload(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), evolve(Config())) as wire:
            client = await wire.open()
            assert await client.upload("a", DATA, hash_of("sha1", SHA1)) == {"close": True}
            await client.close()
            await wire.all_ended()
    started, stored = of_event(logs, "upload.started", "upload.stored")
    assert started["upload"] == stored["upload"]
    assert stored["sha1"] == SHA1
    assert (stored["chunks"], stored["chunk_min"], stored["chunk_max"]) == (1, 1024, 1024)
    assert (stored["in_flight_max"], stored["hash_verified"]) == (1, True)
