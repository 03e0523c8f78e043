"""One upload, start to end, on trio's own clock: no thread and no socket takes part."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import pytest
import structlog
import trio
from helpers.memory_store import MemorySink, MemoryStore
from helpers.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    UPGRADE,
    frame,
    header,
    serving,
    text_frame,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from galileod.config.model import Config
from galileod.hooks.settings import Hooks
from galileod.net.settings import Timeouts
from galileod.net.streams import QUIET
from galileod.policy.settings import Chunks, Hash, Limits
from galileod.storage.base import NoSpaceError, Sink, StorageError, Stored
from galileod.units import Duration, Size

pytestmark = pytest.mark.timeout(20)

DATA = bytes(range(256)) * 4

Line = MutableMapping[str, Any]


def data_frame(data: bytes) -> bytes:
    """A chunk of any size, with a mask that changes nothing."""
    return header(BINARY, len(data)) + data


class StubbornSink(MemorySink):
    """A sink that fails in one step, or takes its time there."""

    def __init__(self, store: "StubbornStore", name: str) -> None:
        super().__init__(store, name)
        self._ours = store

    async def write(self, pieces: Sequence[bytes]) -> None:
        await self._ours.step("write")
        await super().write(pieces)

    async def digest(self, kind: str) -> str:
        await self._ours.step("digest")
        return await super().digest(kind)

    async def commit(self) -> Stored:
        await self._ours.step("commit")
        return await super().commit()


class StubbornStore(MemoryStore):
    """A store whose sinks do `act` before the step called `at`."""

    def __init__(self, at: str, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._at = at
        self._act = act

    async def create(self, upload: str, name: str) -> MemorySink:
        del upload
        await self.step("create")
        return StubbornSink(self, name)

    async def step(self, name: str) -> None:
        if name == self._at:
            await self._act()

    def heal(self) -> None:
        self._at = "never"


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return act


def sleeping(seconds: float) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        await trio.sleep(seconds)

    return act


def of_event(logs: list[Line], *events: str) -> list[Line]:
    return [line for line in logs if line["event"] in events]


def the_end(logs: list[Line]) -> Line:
    """The one line that says how the one upload ended."""
    (line,) = of_event(logs, "upload.stored", "upload.failed")
    return line


# Time.


@pytest.mark.parametrize("chatter", [b"", frame(PING), text_frame({"unknown": True})])
async def test_metadata_that_does_not_come_in_time_is_a_fault_whatever_else_comes(
    autojump_clock: MockClock,
    chatter: bytes,
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        began = trio.current_time()

        async def chat() -> None:
            while True:
                await trio.sleep(3)
                await raw.send(chatter)

        wire.nursery.start_soon(chat)
        while (received := await raw.receive_frame()) and received.opcode != 1:
            pass
        assert trio.current_time() == began + 10
        assert received
        assert received.signal["code"] == "idle"
        assert received.signal["fatal"] is True


@pytest.mark.parametrize("gone_before_the_end", [0, 1, 500])
async def test_a_client_that_falls_silent_is_given_up_after_the_idle_time_exactly(
    autojump_clock: MockClock,
    gone_before_the_end: int,
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(DATA)}))
        while len(DATA) > (await raw.receive())["chunksize"]:
            pass
        await trio.sleep(59)
        data = frame(BINARY, DATA)
        # One byte short, or none of the frame's payload: either way it is not whole.
        await raw.send(data[: len(data) - max(gone_before_the_end, 1)])
        began = trio.current_time()
        signal = await raw.receive()
        assert trio.current_time() == began + 60
        assert signal["code"] == "idle"
        assert signal["fatal"] is True
        assert store.contents == {}
        await raw.stream.aclose()
        await wire.all_ended()
        assert store.open_sinks == 0


@pytest.mark.parametrize("pings", [False, True])
async def test_every_byte_counts_as_progress(autojump_clock: MockClock, *, pings: bool) -> None:
    store = MemoryStore()
    async with serving(store, Config(limits=Limits(min_rate=Size(0)))) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 100}))
        await raw.receive()
        began = trio.current_time()
        for byte in frame(PING) * 20 if pings else frame(BINARY, DATA[:100]):
            await trio.sleep(59.9)
            await raw.send(bytes([byte]))
        if pings:
            await raw.send(frame(BINARY, DATA[:100]))
            for _ in range(20):
                assert await raw.receive_frame()
        assert await raw.receive() == {"ready": True}
        assert trio.current_time() > began + 100 * 59
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
    assert store.contents == {"a.bin": DATA[:100]}


@pytest.mark.parametrize("step", ["create", "write", "digest", "commit"])
async def test_the_time_that_the_storage_takes_is_not_the_clients(
    autojump_clock: MockClock, step: str
) -> None:
    store = StubbornStore(step, sleeping(1000))
    async with serving(store, with_chunks(400, 1)) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", DATA) == {"close": True}
        assert trio.current_time() >= 1000
        await client.close()
    assert store.contents == {"a.bin": DATA}


async def test_a_client_that_does_not_close_is_closed_after_the_close_time(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 0}))
        assert await raw.receive() == {"ready": True}
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
        began = trio.current_time()
        received = await raw.receive_frame()
        assert received
        assert (received.opcode, received.close_code) == (CLOSE, 1000)
        assert trio.current_time() == began + 5
        assert await raw.receive_frame() is None
        assert trio.current_time() == began + 6 + QUIET
        await wire.all_ended()
        # A last wait for the far end of the half-closed stream.
        assert trio.current_time() == began + 11 + QUIET


async def test_a_client_that_closes_is_answered_at_once(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore()) as wire:
            client = await wire.open()
            began = trio.current_time()
            assert await client.upload("a.bin", DATA) == {"close": True}
            await client.close()
            await wire.all_ended()
            assert trio.current_time() == began
    (closed,) = of_event(logs, "connection.closed")
    assert closed["reason"] == "closed by the peer (code 1000)"


async def test_a_client_that_does_not_read_is_as_good_as_gone(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store) as wire:
            raw = await wire.open_raw(lockstep=True)
            await raw.send(text_frame({"name": "a.bin", "size": 10}))
            began = trio.current_time()
            await wire.all_ended()
            assert 60 <= trio.current_time() - began <= 60 + 5 + 1 + 5
    assert the_end(logs)["code"] == "disconnected"
    assert the_end(logs)["reason"] == "the peer does not read what we send"
    assert store.open_sinks == 0


async def test_a_client_that_does_not_read_the_answer_to_its_upgrade_is_given_up(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = wire.connect(lockstep=True)
        with trio.fail_after(600):
            await raw.send(UPGRADE)
            await wire.all_ended()


# Verdicts.


@pytest.mark.parametrize("kind", ["sha1", "SHA256", "sha512", "Blake2b"])
@pytest.mark.parametrize("size", [0, len(DATA)])
async def test_a_hash_in_either_case_is_verified(
    autojump_clock: MockClock, kind: str, size: int
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, with_chunks(100, 3)) as wire:
            client = await wire.open()
            value = hashlib.new(kind.lower(), DATA[:size]).hexdigest().upper()
            signal = {"hash": {"type": kind, "value": value}}
            assert await client.upload("a.bin", DATA[:size], signal) == {"close": True}
    assert store.contents == {"a.bin": DATA[:size]}
    assert the_end(logs)["hash_verified"] is True
    assert the_end(logs)["sha1"] == hashlib.sha1(DATA[:size], usedforsecurity=False).hexdigest()


def hash_of(kind: str, value: str) -> dict[str, object]:
    return {"hash": {"type": kind, "value": value}}


SHA1 = hashlib.sha1(DATA, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("name", "size", "finished", "expected"),
    [
        ("a.bin", len(DATA), {}, {"code": "hash_required"}),
        (
            "a.bin", len(DATA), hash_of("sha1", "00" * 20),
            {"code": "hash_mismatch", "expected": "00" * 20, "received": SHA1},
        ),
        ("a.bin", len(DATA), hash_of("sha1", ""), {"code": "hash_mismatch", "expected": ""}),
        ("a.bin", len(DATA), hash_of("sha256", SHA1), {"code": "hash_mismatch", "expected": SHA1}),
        ("a.bin", len(DATA), hash_of("md5", "00"), {"code": "unsupported_hash", "type": "md5"}),
        (
            "a.bin", len(DATA), hash_of("x" * 99, "00"),
            {"code": "unsupported_hash", "type": "x" * 64},
        ),
        ("a.bin", len(DATA), {"hash": "00"}, {"code": "bad_message"}),
        ("a.bin", 2001, {}, {"code": "too_large", "limit": 2000, "size": 2001}),
        ("..", len(DATA), {}, {"code": "bad_name"}),
        ("a/b/", len(DATA), {}, {"code": "bad_name"}),
        (7, len(DATA), {}, {"code": "bad_metadata", "key": "name"}),
        ("a.bin", -1, {}, {"code": "bad_metadata", "key": "size"}),
        ("taken", len(DATA), {}, {"code": "conflict"}),
    ],
)  # fmt: skip
async def test_what_is_refused_gets_its_fault_and_a_close_and_leaves_nothing(
    autojump_clock: MockClock,
    name: object,
    size: int,
    finished: Mapping[str, object],
    expected: Mapping[str, object],
) -> None:
    store = MemoryStore("reject")
    store.contents["taken"] = b"first"
    config = Config(limits=Limits(max_file_size=Size(2000)), hash=Hash(required=True))
    with capture_logs() as logs:
        async with serving(store, with_chunks(500, 2, config)) as wire:
            client = await wire.open()
            await client.send({"name": name, "size": size})
            sent = 0
            while (signal := await client.receive()).get("ready"):
                if sent < len(DATA):
                    await client.send_bytes(DATA[sent : sent + signal["chunksize"]])
                    sent += signal["chunksize"]
                else:
                    await client.send({"finished": True, **finished})
            assert signal["fatal"] is True
            assert signal["error"].endswith((".", '"}.'))
            assert expected.items() <= signal.items()
            began = trio.current_time()
            assert await client.closed() == (1008, expected["code"])
            assert trio.current_time() == began + 5
            await wire.all_ended()
    assert store.contents == {"taken": b"first"}
    assert store.open_sinks == 0
    assert the_end(logs)["code"] == expected["code"]
    assert the_end(logs)["log_level"] == "warning"


@pytest.mark.parametrize("more", [b"", b"x"])
async def test_a_file_of_another_size_than_was_said_is_refused(
    autojump_clock: MockClock, more: bytes
) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(2000, 1)) as wire:
        client = await wire.open()
        await client.send({"name": "a.bin", "size": len(DATA)})
        await client.receive()
        data = DATA + more if more else DATA[:-1]
        await client.send_bytes(data)
        if not more:
            await client.receive()
            await client.send({"finished": True})
        signal = await client.receive()
        assert signal["error"] == f"Expected: {len(DATA)} bytes. Got: {len(data)} bytes."
        assert signal["code"] == "size_mismatch"
        assert (signal["expected"], signal["received"]) == (len(DATA), len(data))
    assert store.contents == {}


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (frame(1, b"no JSON"), "bad_message"),
        (frame(BINARY, b"data"), "bad_message"),
        (frame(BINARY), "bad_message"),
        (text_frame({"finished": True}), "bad_message"),
        (header(1, 40_000), "bad_message"),
        (header(BINARY, 2**40), "bad_message"),
        (frame(1, b"\xff"), "bad_message"),
        (frame(3), "bad_message"),
    ],
)
async def test_what_is_no_metadata_is_refused_at_once(
    autojump_clock: MockClock, first: bytes, code: str
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        began = trio.current_time()
        await raw.send(first)
        assert (await raw.receive())["code"] == code
        assert trio.current_time() == began


async def test_a_chunk_above_its_credit_is_refused_on_its_header(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(100, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 1000}))
        assert (await raw.receive())["chunksize"] == 100
        await raw.send(header(BINARY, 101))
        signal = await raw.receive()
        assert signal["code"] == "bad_chunk"
        assert (signal["limit"], signal["received"]) == (100, 101)
    assert store.contents == {}


# Storage.


@pytest.mark.parametrize("step", ["create", "write", "digest", "commit"])
@pytest.mark.parametrize(
    ("error", "code", "close_code", "level"),
    [
        (StorageError("the disk is on fire"), "storage_failed", 1008, "error"),
        (NoSpaceError("the disk is full"), "no_space", 1008, "warning"),
        (RuntimeError("a bug"), "internal", 1011, "error"),
    ],
)
async def test_a_storage_that_fails_fails_one_upload(
    autojump_clock: MockClock, step: str, error: Exception, code: str, close_code: int, level: str
) -> None:
    store = StubbornStore(step, raising(error))
    with capture_logs([structlog.processors.format_exc_info]) as logs:
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


async def test_close_is_sent_after_commit_and_never_before(autojump_clock: MockClock) -> None:
    committed = trio.Event()

    class Slow(MemorySink):
        async def commit(self) -> Stored:
            await trio.sleep(30)
            stored = await super().commit()
            committed.set()
            return stored

    class SlowStore(MemoryStore):
        async def create(self, upload: str, name: str) -> Sink:  # type: ignore[override]
            del upload
            return Slow(self, name)

    async with serving(SlowStore()) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", DATA) == {"close": True}
        assert committed.is_set()


# Shutdown.


@pytest.mark.parametrize("metadata_first", [True, False])
async def test_an_upload_that_had_not_begun_is_told_that_the_server_stops(
    autojump_clock: MockClock, *, metadata_first: bool
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        client = await wire.open()
        if not metadata_first:
            await trio.sleep(5)
        wire.shutdown.no_new_uploads.fire()
        began = trio.current_time()
        signal = await client.receive()
        assert (signal["code"], signal["fatal"]) == ("shutting_down", True)
        assert await client.closed() == (1001, "shutting_down")
        assert trio.current_time() == began
    assert store.contents == {}


async def test_a_running_upload_may_finish_until_all_are_stopped(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(100, 1)) as wire:
        client, late = await wire.open(), await wire.open()
        for each in (client, late):
            await each.send({"name": "a.bin", "size": 100})
            assert (await each.receive())["ready"]
        assert len(wire.context.running) == 2
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
        assert len(wire.context.running) == 0
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


# Credits.


@pytest.mark.parametrize("in_flight", [1, 3, 16])
@pytest.mark.parametrize("size", [0, 1, 4, 39, 40])
async def test_no_more_credits_are_out_than_allowed_and_none_is_surplus(
    autojump_clock: MockClock, in_flight: int, size: int
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, with_chunks(4, in_flight)) as wire:
            client = await wire.open()
            await client.send({"name": "a.bin", "size": size})
            credits_out: list[int] = []
            most = sent = readies = 0

            async def collect() -> None:
                nonlocal most, readies
                # Whatever the server sends without an answer comes in no time on this clock.
                with trio.move_on_after(1):
                    while True:
                        signal = await client.receive()
                        assert signal["ready"] is True
                        credits_out.append(signal.get("chunksize", 0))
                        readies += 1
                most = max(most, len(credits_out))
                assert sum(credits_out) <= size - sent

            await collect()
            while sent < size:
                chunk = DATA[sent : min(sent + credits_out.pop(0), size)]
                await client.send_bytes(chunk)
                sent += len(chunk)
                await collect()
            assert credits_out == [0]
            chunks = -(-size // 4)
            assert readies == chunks + 1
            assert most == max(1, min(in_flight, chunks))
            await client.send({"finished": True})
            assert await client.receive() == {"close": True}
    assert store.contents == {"a.bin": DATA[:size]}
    assert the_end(logs)["in_flight_max"] == min(in_flight, chunks)
    assert the_end(logs)["chunks"] == chunks


async def test_smaller_chunks_than_granted_are_taken_and_their_answers_surplus_do_no_harm(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, with_chunks(1000, 4)) as wire:
        client = await wire.open()
        await client.send({"name": "a.bin", "size": len(DATA)})
        sent = finished = 0
        while (signal := await client.receive()).get("ready"):
            if sent < len(DATA):
                await client.send_bytes(DATA[sent : sent + 100])
                sent += 100
            else:
                # The sender that reads an empty chunk first, and then finishes twice.
                await (client.send_bytes(b"") if not finished else client.send({"finished": True}))
                finished += 1
        assert signal == {"close": True}
        await client.send({"finished": True})
        await client.send_bytes(b"")
        await client.close()
        await wire.all_ended()
    assert store.contents == {"a.bin": DATA}


@pytest.mark.parametrize("in_flight", [1, 2, 16])
@pytest.mark.parametrize("own", [250_000, 200_000, 65_536])
@pytest.mark.parametrize("size", [3_000_000, 3_932_160, 4_600_000, 5_900_000, 6_997_657, 7_900_000])
async def test_a_client_with_a_chunk_size_of_its_own_is_served_whatever_the_size_of_its_file(
    autojump_clock: MockClock, size: int, own: int, in_flight: int
) -> None:
    store, sent = MemoryStore(), 0
    content = (DATA * (size // len(DATA) + 1))[:size]
    async with serving(store, Config(chunks=Chunks(max_in_flight=in_flight))) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": size}))
        while (signal := await raw.receive()).get("ready"):
            chunk = content[sent : sent + own]
            sent += len(chunk)
            await raw.send(data_frame(chunk) if chunk else text_frame({"finished": True}))
        assert signal == {"close": True}
    assert store.contents == {"a.bin": content}


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


# Chunks that come in parts.

MIB = 1024 * 1024
CHUNK = 6 * MIB
MOST_OF_IT = 4 * MIB


class WatchedSink(MemorySink):
    """Tells how many bytes each write had."""

    def __init__(self, store: MemoryStore, name: str, writes: list[int]) -> None:
        super().__init__(store, name)
        self._writes = writes

    async def write(self, pieces: Sequence[bytes]) -> None:
        await super().write(pieces)
        self._writes.append(sum(len(piece) for piece in pieces))

    @property
    def content(self) -> bytes:
        return bytes(self._data)


class WatchedStore(MemoryStore):
    """A store for one upload, into whose sink one can look."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []
        self.sink: WatchedSink | None = None

    async def create(self, upload: str, name: str) -> MemorySink:
        del upload
        await trio.lowlevel.checkpoint()
        self.sink = WatchedSink(self, name, self.writes)
        return self.sink

    @property
    def content(self) -> bytes:
        """What the sink has so far."""
        assert self.sink is not None
        return self.sink.content


def large(size: int) -> bytes:
    return (DATA * (size // len(DATA) + 1))[:size]


def in_frames(data: bytes, count: int) -> bytes:
    """A BINARY message in `count` frames."""
    step = -(-len(data) // count)
    starts = range(0, len(data), step)
    return b"".join(
        header(BINARY if not at else CONTINUATION, len(part), final=at == starts[-1]) + part
        for at in starts
        if (part := data[at : at + step])
    )


@pytest.mark.parametrize("whole_frames", [False, True])
async def test_parts_of_a_chunk_are_stored_before_the_chunk_is_whole(
    autojump_clock: MockClock, *, whole_frames: bool
) -> None:
    store, data = WatchedStore(), large(CHUNK)
    message = in_frames(data, 12 if whole_frames else 1)
    async with serving(store, with_chunks(CHUNK, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": CHUNK}))
        assert (await raw.receive())["chunksize"] == CHUNK
        await raw.send(message[:MOST_OF_IT])
        await trio.testing.wait_all_tasks_blocked()
        assert 2 * MIB <= len(store.content) <= MOST_OF_IT
        assert data.startswith(store.content)
        assert store.contents == {}
        await raw.send(message[MOST_OF_IT:])
        assert await raw.receive() == {"ready": True}
        assert store.content == data
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
    assert store.contents == {"a.bin": data}


@pytest.mark.parametrize("frames", [1, 2, 5, 100])
async def test_a_chunk_that_came_in_parts_is_one_chunk_in_the_log(
    autojump_clock: MockClock, frames: int
) -> None:
    store, data = WatchedStore(), large(CHUNK)
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    with capture_logs() as logs:
        async with serving(store, with_chunks(CHUNK, 2)) as wire:
            raw = await wire.open_raw()
            await raw.send(text_frame({"name": "a.bin", "size": CHUNK}))
            await raw.receive()
            await raw.send(in_frames(data, frames))
            assert await raw.receive() == {"ready": True}
            await raw.send(text_frame({"finished": True, **hash_of("sha1", sha1)}))
            assert await raw.receive() == {"close": True}
    assert len(store.writes) > 1, "the chunk did not come in parts"
    assert sum(store.writes) == CHUNK
    assert store.contents == {"a.bin": data}
    end = the_end(logs)
    assert (end["chunks"], end["chunk_min"], end["chunk_max"]) == (1, CHUNK, CHUNK)
    assert (end["in_flight_max"], end["sha1"], end["hash_verified"]) == (1, sha1, True)


async def test_a_credit_is_given_back_at_the_end_of_its_chunk_and_not_before(
    autojump_clock: MockClock,
) -> None:
    store, data = WatchedStore(), large(4 * CHUNK)
    async with serving(store, with_chunks(CHUNK, 2)) as wire:
        share = wire.context.pool.share
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
        for _ in range(2):
            assert await raw.receive() == {"ready": True, "chunksize": CHUNK}
        for number in range(2):
            stored = number * CHUNK
            message = in_frames(data[stored : stored + CHUNK], 1)
            for sent in range(0, CHUNK, MIB):
                await raw.send(message[sent : sent + MIB])
                with trio.move_on_after(1) as nothing_came:
                    await raw.receive_frame()
                assert nothing_came.cancelled_caught
                assert share.held == 2 * CHUNK
            assert len(store.content) > stored + 2 * MIB
            await raw.send(message[CHUNK:])
            assert await raw.receive() == {"ready": True, "chunksize": CHUNK}
            # What this chunk held was given back, and taken again for the next credit.
            assert share.held == 2 * CHUNK
            assert store.content == data[: stored + CHUNK]
        await raw.send(in_frames(data[2 * CHUNK : 3 * CHUNK], 1))
        await trio.testing.wait_all_tasks_blocked()
        assert share.held == CHUNK


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("ending", ["lost", "closed", "silent"])
async def test_an_upload_that_ends_in_the_middle_of_a_chunk_leaves_nothing(
    autojump_clock: MockClock, ending: str, before: int
) -> None:
    store, data = WatchedStore(), large(2 * CHUNK)
    with capture_logs() as logs:
        async with serving(store, with_chunks(CHUNK, 1)) as wire:
            raw = await wire.open_raw()
            await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
            await raw.receive()
            for _ in range(before):
                await raw.send(in_frames(data[:CHUNK], 1))
                await raw.receive()
            await raw.send(in_frames(data[before * CHUNK :][:CHUNK], 1)[:MOST_OF_IT])
            await trio.testing.wait_all_tasks_blocked()
            assert len(store.content) >= before * CHUNK + 2 * MIB
            match ending:
                case "lost":
                    await trio.aclose_forcefully(raw.stream)
                case "closed":
                    await raw.stream.send_eof()
                case "silent":
                    assert (await raw.receive())["code"] == "idle"
                    await raw.stream.aclose()
            await wire.all_ended()
            assert store.open_sinks == 0
            assert wire.context.pool.share.held == 0
    assert store.contents == {}
    assert the_end(logs)["event"] == "upload.failed"
    assert the_end(logs)["code"] == ("idle" if ending == "silent" else "disconnected")
    assert the_end(logs)["received"] == before * CHUNK, "what came of no whole chunk does not count"


@pytest.mark.parametrize("hook", [("notify",), ()])
async def test_a_file_whose_hook_cannot_be_promised_a_receipt_is_not_stored(
    autojump_clock: MockClock, hook: tuple[str, ...]
) -> None:
    store = MemoryStore()
    async with serving(store, Config(hooks=Hooks(stored=hook))) as wire:
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


@pytest.mark.parametrize("seconds", [59, 1000])
async def test_the_time_that_the_storage_takes_for_a_part_is_not_the_clients(
    autojump_clock: MockClock, seconds: int
) -> None:
    store, data = StubbornStore("write", sleeping(seconds)), large(2 * CHUNK)
    async with serving(store, with_chunks(CHUNK, 1)) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": len(data)}))
        for at in range(0, len(data), CHUNK):
            assert (await raw.receive())["chunksize"] == CHUNK
            await raw.send(in_frames(data[at : at + CHUNK], 1))
        assert await raw.receive() == {"ready": True}
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == {"close": True}
        assert trio.current_time() >= 4 * seconds
    assert store.contents == {"a.bin": data}


# The log.


async def test_the_log_tells_a_stored_upload_from_start_to_end(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), with_chunks(1000, 2)) as wire:
            client = await wire.open()
            await trio.sleep(4)
            assert await client.upload("a.bin", DATA) == {"close": True}
            await client.close()
            await wire.all_ended()
    opened, started, stored, closed = logs
    connection = {"connection": opened["connection"], "peer": "test", "log_level": "info"}
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


@pytest.mark.parametrize(
    ("leave_after", "lines", "received"),
    [("upgrade", 0, 0), ("metadata", 1, 0), ("chunk", 1, 100)],
)
@pytest.mark.parametrize("in_order", [True, False])
async def test_a_client_that_leaves_is_a_failed_upload_once_it_was_named(
    autojump_clock: MockClock, *, leave_after: str, lines: int, received: int, in_order: bool
) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, with_chunks(100, 1)) as wire:
            client = await wire.open()
            if leave_after != "upgrade":
                await client.send({"name": "a.bin", "size": 200})
                await client.receive()
            if leave_after == "chunk":
                await client.send_bytes(DATA[:100])
                await client.receive()
            if in_order:
                await client.close()
            else:
                await trio.aclose_forcefully(client.stream)
            await wire.all_ended()
    failed = of_event(logs, "upload.failed")
    assert [(line["code"], line["received"]) for line in failed] == (
        [("disconnected", received)] * lines
    )
    (closed,) = of_event(logs, "connection.closed")
    expected = "closed by the peer (code 1000)" if in_order else "the connection was lost"
    assert closed["reason"] == expected
    assert store.open_sinks == 0


async def test_a_client_that_leaves_while_its_file_is_committed_has_stored_it(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(5))
    with capture_logs() as logs:
        async with serving(store) as wire:
            client = await wire.open()

            async def leave() -> None:
                await trio.sleep(2)
                await trio.aclose_forcefully(client.stream)

            wire.nursery.start_soon(leave)
            with pytest.raises(ConnectionClosed):
                await client.upload("a.bin", DATA)
            await wire.all_ended()
    assert store.contents == {"a.bin": DATA}
    assert the_end(logs)["event"] == "upload.stored"


async def test_the_configured_times_are_the_ones_that_hold(autojump_clock: MockClock) -> None:
    config = Config(timeouts=Timeouts(metadata=Duration(3), close=Duration(2)))
    async with serving(MemoryStore(), config) as wire:
        client = await wire.open()
        assert (await client.receive())["code"] == "idle"
        assert trio.current_time() == 3
        assert await client.closed() == (1008, "idle")
        assert trio.current_time() == 5
