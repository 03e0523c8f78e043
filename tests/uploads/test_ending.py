"""How an upload ends for the client, and in the log."""

from collections.abc import Mapping

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA, SHA1, StubbornStore, hash_of, of_event, sleeping, the_end
from helpers.wire import (
    CLOSE,
    serving,
    text_frame,
    with_chunks,
)
from structlog.testing import capture_logs
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from galileod.config.model import Config
from galileod.net.streams import QUIET
from galileod.policy.settings import Hash, Limits
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)


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
