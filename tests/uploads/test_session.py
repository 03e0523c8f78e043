"""The steps of one upload in order, and what the log says of them."""

import pytest
import trio
from attrs import evolve
from helpers.captured import captured_tracebacks
from helpers.memory_store import MemorySink, MemoryStore
from helpers.uploading import (
    CHUNK,
    DATA,
    MOST_OF_IT,
    SHA1,
    StubbornStore,
    in_frames,
    large,
    of_event,
    raising,
    sleeping,
    the_end,
)
from helpers.wire import (
    STREAMED,
    serving,
    text_frame,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.hooks.settings import Hooks
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.publication import OnConflict
from galileod.storage.base import Sink, Stored
from galileod.storage.errors import (
    BadNameError,
    NoSpaceError,
    StorageBusyError,
    StorageError,
    UnsupportedHashError,
)

pytestmark = pytest.mark.timeout(20)


async def test_close_is_sent_after_commit_and_never_before(autojump_clock: MockClock) -> None:
    committed = trio.Event()

    class Slow(MemorySink):
        async def commit(self) -> Stored:
            await trio.sleep(30)
            stored = await super().commit()
            committed.set()
            return stored

    class SlowStore(MemoryStore):
        async def create(self, upload: str, name: str, *_: object, **_keys: object) -> Sink:  # type: ignore[override]
            del upload
            return Slow(self, name)

    async with serving(SlowStore()) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", DATA) == {"close": True}
        assert committed.is_set()


async def test_the_numeral_1_is_as_good_as_true_and_unknown_signals_are_ignored(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        client = await wire.open()
        await client.send({"hello": 1})
        await client.send({"name": "dir/a.bin", "size": 3, "directory": "x", "more": None})
        assert await client.receive() == {"ready": True, "chunksize": 3}
        await client.send({"hello": 2})
        await client.send_bytes(b"abc")
        assert await client.receive() == {"ready": True}
        await client.send({"finished": 1})
        assert await client.receive() == {"close": True, "name": "a.bin"}
    assert store.contents == {"a.bin": b"abc"}


@pytest.mark.parametrize("step", ["create", "write", "digest", "commit"])
@pytest.mark.parametrize(
    ("error", "code", "close_code", "level"),
    [
        (StorageError("the disk is on fire"), "storage_failed", 1008, "error"),
        (NoSpaceError("the disk is full"), "no_space", 1008, "warning"),
        (StorageBusyError("it asks for fewer requests"), "busy", 1008, "warning"),
        (UnsupportedHashError("it is stored in parts"), "unsupported_hash", 1008, "warning"),
        (RuntimeError("a bug"), "internal", 1011, "error"),
    ],
)
async def test_a_storage_that_fails_fails_one_upload(
    autojump_clock: MockClock, step: str, error: Exception, code: str, close_code: int, level: str
) -> None:
    store = StubbornStore(step, raising(error))
    with captured_tracebacks() as logs:
        async with serving(store, with_chunks(500, 2)) as wire:
            client = await wire.open()
            signal = await client.upload("a.bin", DATA)
            assert (signal["code"], signal["fatal"]) == (code, True)
            assert ("a bug" in signal["error"]) is False
            assert await client.closed() == (close_code, code)
            await wire.all_ended()
            assert (store.contents, store.open_sinks) == ({}, 0)
            end = the_end(logs)
            assert (end["code"], end["log_level"]) == (code, level)
            if code == "internal":
                (line,) = of_event(logs, "upload.error")
                assert "RuntimeError: a bug" in line["exception"]
                assert "Traceback" in line["exception"]
                assert line["log_level"] == "error"
                assert line["connection"] == end["connection"]
            else:
                assert str(error) in end["reason"]
            store.heal()
            again = await wire.open()
            assert await again.upload("a.bin", DATA) == {"close": True}
            await again.close()
    assert store.contents == {"a.bin": DATA}


async def test_a_storage_that_fails_in_the_middle_of_a_chunk_is_told_at_once(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("write", raising(NoSpaceError("the disk is full")))
    async with serving(store, with_chunks(CHUNK, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": CHUNK}))
        await raw.receive()
        began = trio.current_time()
        await raw.send(in_frames(large(CHUNK), 1)[:MOST_OF_IT])
        assert (await raw.receive())["code"] == "no_space"
        assert trio.current_time() == began
        await raw.stream.aclose()
        await wire.all_ended()
    assert (store.contents, store.open_sinks) == ({}, 0)


@pytest.mark.parametrize("hook", [("notify",), ()])
async def test_a_file_whose_hook_cannot_be_promised_a_receipt_is_not_stored(
    autojump_clock: MockClock, hook: tuple[str, ...]
) -> None:
    store = MemoryStore()
    async with serving(store, evolve(STREAMED, hooks=Hooks(stored=hook))) as wire:
        assert isinstance(wire.ledger, SqliteLedger)
        wire.ledger.database.connection.execute(
            "CREATE TRIGGER bad BEFORE UPDATE ON uploads BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        client = await wire.open()
        signal = await client.upload("a.bin", DATA)
        await client.close()
    if hook:
        assert signal["code"] == "storage_failed"
        assert store.contents == {}
    else:
        assert signal == {"close": True}


async def test_a_running_upload_may_finish_until_all_are_stopped(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(100, 1)) as wire:
        client, late = await wire.open(), await wire.open()
        for each in (client, late):
            await each.send({"name": "a.bin", "size": 100})
            assert (await each.receive())["ready"]
        assert len(wire.context.admission.running) == 2
        wire.shutdown.no_new_uploads.fire()
        await client.send_bytes(DATA[:100])
        assert await client.receive() == {"ready": True}
        await client.send({"finished": True})
        assert await client.receive() == {"close": True}
        await client.close()
        assert store.open_sinks == 1
        wire.shutdown.no_uploads.fire()
        assert (await late.receive())["code"] == "shutting_down"
        assert await late.closed() == (1001, "shutting_down")
        await wire.all_ended()
        assert len(wire.context.admission.running) == 0
    assert store.contents == {"a.bin": DATA[:100]}
    assert store.open_sinks == 0


async def test_an_upload_that_is_being_committed_is_not_stopped_any_more(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(50))
    async with serving(store) as wire:
        client = await wire.open()

        async def stop() -> None:
            await trio.sleep(10)
            wire.shutdown.no_new_uploads.fire()
            wire.shutdown.no_uploads.fire()

        wire.nursery.start_soon(stop)
        assert await client.upload("a.bin", DATA) == {"close": True}
    assert store.contents == {"a.bin": DATA}


async def test_the_log_tells_a_stored_upload_from_start_to_end(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), with_chunks(1000, 2)) as wire:
            client = await wire.open()
            await trio.sleep(4)
            assert await client.upload("a.bin", DATA) == {"close": True}
            await client.close()
            await wire.all_ended()
    opened, started, stored, closed = logs
    connection = {
        "connection": opened["connection"], "peer": "test", "network": "unix", "log_level": "info",
    }  # fmt: skip
    upload = {
        **connection, "upload": started["upload"], "name": "a.bin", "size": 1024, "user": "test",
    }  # fmt: skip
    assert opened == {**connection, "event": "connection.opened"}
    assert started == {**upload, "event": "upload.started"}
    assert stored == {
        **upload,
        "event": "upload.stored",
        "path": "/memory/a.bin",
        "sha1": SHA1,
        "hash_verified": False,
        "seconds": 4.0,
        "bytes_per_second": 256,
        "chunks": 2,
        "chunk_min": 24,
        "chunk_max": 1000,
        "in_flight_max": 2,
    }
    assert closed == {
        **connection,
        "event": "connection.closed",
        "reason": "closed by the peer (code 1000)",
        "seconds": 4.0,
        "stored": True,
    }


async def test_two_connections_are_told_apart_in_the_log(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore()) as wire:
            for name in ("a.bin", "b.bin"):
                client = await wire.open()
                assert await client.upload(name, DATA) == {"close": True}
                await client.close()
            await wire.all_ended()
    for key in ("connection", "upload"):
        assert len({line[key] for line in of_event(logs, "upload.stored")}) == 2


@pytest.mark.parametrize("hook", [("notify",), ()])
@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
async def test_a_file_is_prepared_before_its_receipt_is_promised_and_outside_the_lock(
    autojump_clock: MockClock, hook: tuple[str, ...], on_conflict: OnConflict
) -> None:
    steps: list[str] = []
    during_prepare: list[bool] = []

    class Recording(MemorySink):
        @property
        def identity(self) -> str:
            steps.append("promise")
            return super().identity

        async def prepare(self) -> None:
            steps.append("prepare")
            async with wire.context.publication.hold([], replaces=True):
                during_prepare.append(True)  # nobody holds it
            await super().prepare()

        async def commit(self) -> Stored:
            steps.append("commit")
            return await super().commit()

    class RecordingStore(MemoryStore):
        async def create(self, upload: str, name: str, *_: object, **_keys: object) -> Sink:  # type: ignore[override]
            del upload
            return Recording(self, name)

    config = evolve(STREAMED, hooks=Hooks(stored=hook))
    async with serving(RecordingStore(on_conflict), config) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", DATA) == {"close": True}
    expected = ["prepare"] if hook or on_conflict == "replace" else []
    assert steps == [*expected, *(["promise"] if hook else []), "commit"]
    assert len(during_prepare) == len(expected)


async def test_a_name_that_the_storage_refuses_is_a_bad_name(autojump_clock: MockClock) -> None:
    class Refusing(MemoryStore):
        async def create(self, upload: str, name: str, *_: object, **_keys: object) -> Sink:  # type: ignore[override]
            del upload
            raise BadNameError(f"the filesystem does not accept the name {name}")

    async with serving(Refusing(), STREAMED) as wire:
        client = await wire.open()
        await client.send({"name": "a.bin", "size": 1})
        assert (await client.receive())["code"] == "bad_name"
