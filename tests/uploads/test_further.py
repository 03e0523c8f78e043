"""The further files of a connection: how each is received, stored and answered."""

import pytest
import trio
from attrs import evolve
from helpers.furthering import (
    answers,
    begin,
    chunk,
    end,
    finished,
    limited,
    metadata,
    offer,
    stored,
    whole,
)
from helpers.memory_store import MemoryStore
from helpers.uploading import StubbornStore, raising, sleeping
from helpers.wire import serving, text_frame
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.policy.settings import Limits, Quota
from galileod.storage.errors import StorageError
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)


async def test_small_files_are_sent_in_one_go_and_answered_by_their_numbers(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + whole("b", b"22") + whole("c", b""))
        assert await answers(raw, 3) == {1: stored("a"), 2: stored("b"), 3: stored("c")}
        assert await end(raw) == []
    assert store.contents == {"0": b"", "a": b"1", "b": b"22", "c": b""}


async def test_a_larger_file_waits_for_its_ready(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited(whole=10)) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 11))
        assert await raw.receive() == {"ready": True, "chunksize": 11, "file": 1}
        await raw.send(chunk(b"hello world") + finished(b"hello world") + whole("b", b"2"))
        assert await answers(raw, 2) == {1: stored("a"), 2: stored("b")}
    assert store.contents["a"] == b"hello world"


async def test_the_first_signal_states_the_limits(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), limited(following=5, whole=6, room=7)) as wire:
        _, first = await offer(wire)
    assert first == {"ready": True, "can": ["next"], "next": 5, "whole": 6, "room": 7}


async def test_a_classic_client_is_told_nothing_of_them(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), limited()) as wire:
        _, first = await offer(wire, ())
    assert first == {"ready": True, "can": []}


async def test_without_further_files_in_the_configuration_they_are_not_agreed(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), limited(following=0)) as wire:
        _, first = await offer(wire)
    assert first == {"ready": True, "can": []}


async def test_a_refused_file_ends_alone(autojump_clock: MockClock) -> None:
    store = MemoryStore("reject")
    store.contents["taken"] = b"x"
    config = limited()
    config = evolve(config, storage=evolve(config.storage, on_conflict="reject"))
    async with serving(store, config) as wire:
        raw = await begin(wire)
        await raw.send(whole("taken", b"1") + whole("b", b"2") + whole("..", b"3"))
        found = await answers(raw, 3)
        assert found[2] == stored("b")
        for number, code in ((1, "conflict"), (3, "bad_name")):
            assert found[number]["code"] == code
            assert (found[number]["fatal"], found[number]["next"]) == (True, True)
        await raw.send(whole("d", b"4"))
        assert await answers(raw, 1) == {4: stored("d")}
    assert store.contents == {"0": b"", "taken": b"x", "b": b"2", "d": b"4"}


async def test_a_wrong_hash_or_size_ends_one_file(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 3) + chunk(b"abc") + finished(b"other"))
        await raw.send(metadata("b", 3) + chunk(b"ab") + finished(b"ab"))
        await raw.send(metadata("c", 3) + chunk(b"abcd") + finished(b"abcd"))
        await raw.send(whole("d", b"4"))
        found = await answers(raw, 4)
    assert [found[n].get("code") for n in (1, 2, 3, 4)] == [
        "hash_mismatch",
        "size_mismatch",
        "size_mismatch",
        None,
    ]
    assert store.contents == {"0": b"", "d": b"4"}


async def test_metadata_that_are_not_valid_end_one_file(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(text_frame({"name": 5, "size": 3}) + chunk(b"abc") + finished(b"abc"))
        await raw.send(whole("b", b"2"))
        found = await answers(raw, 2)
    assert (found[1]["code"], found[1]["next"], found[2]) == ("bad_metadata", True, stored("b"))


async def test_metadata_within_a_file_end_the_connection(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + metadata("b", 3) + metadata("c", 3))
        assert await answers(raw, 1) == {1: stored("a")}
        signal = await raw.receive()
        assert (signal["code"], signal["file"], "next" in signal) == ("bad_message", 2, False)
    assert store.contents == {"0": b"", "a": b"1"}


async def test_a_message_larger_than_the_room_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited(whole=10, room=10)) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 5) + chunk(bytes(11)))
        signal = await raw.receive()
    assert (signal["code"], signal["file"], "next" in signal) == ("size_mismatch", 1, False)


async def test_more_open_files_than_agreed_end_the_connection(autojump_clock: MockClock) -> None:
    store = StubbornStore("commit", sleeping(5))
    async with serving(store, limited(following=2)) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + whole("b", b"2") + whole("c", b"3"))
        found = [await raw.receive() for _ in range(3)]
    assert [signal.get("code") for signal in found] == [None, None, "bad_message"]
    assert store.contents.keys() == {"0", "a", "b"}


async def test_a_file_can_be_abandoned(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 3) + text_frame({"abandon": True, "file": 1}))
        await raw.send(chunk(b"abc") + finished(b"abc"))
        await raw.send(metadata("b", 2000))
        await raw.send(text_frame({"abandon": True, "file": 2}) + whole("c", b"3"))
        await raw.send(text_frame({"abandon": True, "file": 3}))
        signals = [await raw.receive() for _ in range(4)]
        assert await end(raw) == []
    ready = [signal for signal in signals if signal.get("ready")]
    found = {signal["file"]: signal for signal in signals if not signal.get("ready")}
    assert [signal["file"] for signal in ready] == [2]
    assert [found[n].get("code") for n in (1, 2, 3)] == ["abandoned", "abandoned", None]
    assert store.contents == {"0": b"", "c": b"3"}


async def test_the_first_file_may_be_refused_alone(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, evolve(limited(), limits=Limits(max_file_size=Size(5)))) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "0", "size": 6, "can": ["next"]}))
        first = await raw.receive()
        assert (first["code"], first["next"], first["whole"], first["room"]) == (
            "too_large",
            256,
            1000,
            4000,
        )
        await raw.send(whole("a", b"1"))
        assert await answers(raw, 1) == {1: stored("a")}


async def test_a_connection_without_open_files_is_told_that_it_ends(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), limited()) as wire:
        raw = await begin(wire)
        began = trio.current_time()
        assert await raw.receive() == {"last": True}
        assert trio.current_time() - began == pytest.approx(60)
        received = await raw.receive_frame()
        assert received is not None
        assert received.close_code == 1000


async def test_metadata_that_cross_the_last_signal_are_answered(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        assert await raw.receive() == {"last": True}
        await raw.send(whole("a", b"1"))
        assert await answers(raw, 1) == {1: stored("a")}


async def test_a_daemon_that_stops_takes_no_more_files(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        wire.shutdown.no_new_uploads.fire()
        assert await raw.receive() == {"last": True}
        await raw.send(whole("a", b"1") + metadata("b", 2000))
        found = await answers(raw, 2)
        assert found[1] == stored("a")
        assert (found[2]["code"], found[2]["next"]) == ("shutting_down", True)
        assert await end(raw) == []
    assert store.contents == {"0": b"", "a": b"1"}


async def test_files_that_are_finished_are_stored_though_the_connection_is_lost(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("commit", sleeping(30))
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + whole("b", b"2") + metadata("c", 3))
        await raw.stream.aclose()
        await wire.all_ended()
    assert store.contents == {"0": b"", "a": b"1", "b": b"2"}


async def test_a_whole_file_that_does_not_come_is_silence(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), limited()) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + metadata("b", 3))
        assert await answers(raw, 1) == {1: stored("a")}
        signal = await raw.receive()
    assert (signal["code"], signal["file"], "next" in signal) == ("idle", 2, False)


async def test_a_storage_that_fails_fails_the_files_of_a_batch(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, limited()) as wire:
            raw = await begin(wire)
            failing = StubbornStore("write", raising(StorageError("the disk is on fire")))
            wire.context.store = failing
            await raw.send(whole("a", b"1") + whole("b", b"2"))
            found = await answers(raw, 2)
            assert [found[n]["code"] for n in (1, 2)] == ["storage_failed"] * 2
            failing.heal()
            await raw.send(whole("c", b"3"))
            assert await answers(raw, 1) == {3: stored("c")}
    assert (failing.contents, failing.open_sinks) == ({"c": b"3"}, 0)
    ends = [line for line in logs if line["event"] == "upload.failed"]
    assert [(line["name"], line["size"], line["user"]) for line in ends] == [
        ("a", 1, "test"),
        ("b", 1, "test"),
    ]


async def test_each_stored_file_has_its_line_in_the_log(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), limited()) as wire:
            raw = await begin(wire)
            await raw.send(whole("a", b"1") + whole("b", b"22"))
            await answers(raw, 2)
            await end(raw)
    lines = [line for line in logs if line["event"] == "upload.stored"][1:]
    assert [(line["name"], line["size"], line["hash_verified"]) for line in lines] == [
        ("a", 1, True),
        ("b", 2, True),
    ]
    assert len({line["upload"] for line in lines}) == 2


@pytest.mark.parametrize("limit", [1, 2])
async def test_files_wait_while_their_own_connection_fills_the_users_uploads(
    autojump_clock: MockClock, limit: int
) -> None:
    store = StubbornStore("commit", sleeping(1))
    config = evolve(limited(whole=3), quota=Quota(user_uploads=limit))
    async with serving(store, config) as wire:
        raw = await begin(wire)
        await raw.send(b"".join(whole(f"w{n}", b"1") for n in range(5)) + metadata("large", 4))
        found: dict[int, dict[str, object]] = {}
        while len(found) < 6:
            signal = await raw.receive()
            if signal.get("ready"):
                await raw.send(chunk(b"1234") + finished(b"1234"))
                continue
            assert signal["close"], signal
            found[signal["file"]] = signal
    assert len(store.contents) == 7


async def test_a_quota_refuses_the_files_that_exceed_it(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, evolve(limited(), quota=Quota(user_files=3))) as wire:
        raw = await begin(wire)
        await raw.send(b"".join(whole(f"w{n}", b"1") for n in range(4)))
        found = await answers(raw, 4)
    assert [found[n].get("code") for n in (1, 2, 3, 4)] == [
        None,
        None,
        "quota_exceeded",
        "quota_exceeded",
    ]


KEY = "5d1c6a4e0b9f4d2f8a7e3c1b6d0f9e8"


async def test_a_file_that_is_sent_again_by_its_key_is_stored_once(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        for first in "cd":
            raw = await begin(wire, ("next", "resume"), upload=f"{KEY}{first}", name=first)
            await raw.send(whole("a", b"1", upload=f"{KEY}1") + whole("b", b"2", upload=f"{KEY}2"))
            assert await answers(raw, 2) == {1: stored("a"), 2: stored("b")}
            await end(raw)
    assert store.contents == {"c": b"", "d": b"", "a": b"1", "b": b"2"}


async def test_a_client_that_waits_for_answers_gets_pings(autojump_clock: MockClock) -> None:
    store = StubbornStore("never", sleeping(70))
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        store.act_at("commit")
        await raw.send(whole("a", b"1"))
        pings, signal = await raw.receive_after_pings()
        assert (pings, signal) == (3, stored("a", file=1))
        pings, signal = await raw.receive_after_pings()
        assert (pings, signal) == (0, {"last": True})
