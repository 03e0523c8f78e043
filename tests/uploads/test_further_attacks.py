"""Further files of clients that keep to no order, and of servers in trouble."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.furthering import (
    answers,
    begin,
    chunk,
    finished,
    limited,
    metadata,
    stored,
    whole,
)
from helpers.memory_store import MemoryStore
from helpers.uploading import StubbornStore, sleeping
from helpers.wire import BINARY, PING, RawPeer, Wire, frame, header, serving, text_frame
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.auth.authenticator import Authenticator
from galileod.auth.grant import Grant
from galileod.ledger.base import LedgerError
from galileod.policy.settings import Quota, Resume
from galileod.units import Size

ANNA: dict[str, Any] = {"token": "anna"}
NEW: dict[str, Any] = {"token": "new"}

pytestmark = pytest.mark.timeout(20)

KEY = "5d1c6a4e0b9f4d2f8a7e3c1b6d0f9e8"
RESUMES = ("next", "resume")


async def keyed(wire: Wire, key: str = f"{KEY}0", name: str = "0") -> RawPeer:
    """A connection whose files can have keys."""
    return await begin(wire, RESUMES, upload=key, name=name)


@pytest.mark.parametrize("limit", [None, 1])
async def test_a_key_that_comes_often_in_one_burst_is_stored_once_at_once(
    autojump_clock: MockClock, limit: int | None
) -> None:
    store = MemoryStore()
    async with serving(store, evolve(limited(), quota=Quota(user_uploads=limit))) as wire:
        raw = await keyed(wire)
        began = trio.current_time()
        await raw.send(whole("a", b"1", upload=f"{KEY}1") * 4 + whole("b", b"2"))
        found = await answers(raw, 5)
        assert found == {**dict.fromkeys(range(1, 5), stored("a")), 5: stored("b")}
        assert trio.current_time() == began
    assert store.contents == {"0": b"", "a": b"1", "b": b"2"}


async def test_files_that_came_before_a_large_one_are_answered_before_it(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited(whole=3)) as wire:
        raw = await begin(wire)
        await raw.send(whole("a", b"1") + metadata("large", 4))
        signals = [await raw.receive() for _ in range(2)]
        assert stored("a", file=1) in signals
        await raw.send(chunk(b"1234") + finished(b"1234"))
        assert await answers(raw, 1) == {2: stored("large")}


async def test_data_of_a_refused_file_may_come_while_others_are_answered(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("never", sleeping(1))
    async with serving(store, limited(whole=1000, room=1000)) as wire:
        raw = await begin(wire)
        store.act_at("commit")
        await raw.send(whole("a", bytes(500)))
        await raw.send(text_frame({"name": 5, "size": 500}))
        assert (await raw.receive())["code"] == "bad_metadata"
        assert await answers(raw, 1) == {1: stored("a")}
        # What was refused is not under way any more for the client: there is room for another.
        await raw.send(chunk(bytes(500)) + finished(bytes(500)) + whole("b", bytes(1000)))
        assert await answers(raw, 1) == {3: stored("b")}


async def test_a_small_file_can_be_abandoned_by_its_metadata(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await keyed(wire)
        await raw.send(whole("a", b"1", upload=f"{KEY}1"))
        assert await answers(raw, 1) == {1: stored("a")}
        for key in "12":
            await raw.send(metadata("a", 1, upload=f"{KEY}{key}", abandon=True))
        await raw.send(whole("b", b"2"))
        found = await answers(raw, 3)
    assert (found[2], found[3]["code"], found[3]["next"], found[4]) == (
        stored("a"),
        "abandoned",
        True,
        stored("b"),
    )
    assert store.contents == {"0": b"", "a": b"1", "b": b"2"}


async def test_a_key_whose_entry_in_the_ledger_failed_is_stored_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await keyed(wire)

        async def fail(_commits: Sequence[tuple[str, str, float]]) -> Sequence[LedgerError | None]:
            raise LedgerError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(wire.ledger, "commit_whole", fail)
            await raw.send(whole("a", b"1", upload=f"{KEY}1"))
            assert await answers(raw, 1) == {1: stored("a")}
        await raw.send(whole("a", b"1", upload=f"{KEY}1"))
        assert await answers(raw, 1) == {2: stored("a")}
    assert store.contents == {"0": b"", "a": b"1"}


@pytest.mark.parametrize("useless", [text_frame({"x": 1}), finished(), frame(PING)])
async def test_what_is_no_file_does_not_keep_a_connection(
    autojump_clock: MockClock, useless: bytes
) -> None:
    async with serving(MemoryStore(), limited()) as wire:
        raw = await begin(wire)
        began = trio.current_time()
        ended = trio.Event()

        async def chatter() -> None:
            while not ended.is_set():
                try:
                    await raw.send(useless)
                except trio.BrokenResourceError:
                    return
                await trio.sleep(1)

        wire.nursery.start_soon(chatter)
        frames = [each for each in await raw.receive_frames() if each.opcode != 0xA]
        ended.set()
        assert frames[0].signal == {"last": True}
        assert frames[1].close_code == 1000
        assert trio.current_time() - began <= 60 + 5 + 5 + 5


class Doorkeeper(Authenticator):
    """Lets everyone in, after a look."""

    @property
    def is_open(self) -> bool:
        return False

    async def check(self, credential: str, client: str, *, allow_expired: bool = False) -> Grant:
        del client, allow_expired
        await trio.lowlevel.checkpoint()
        return Grant(credential)


async def test_whole_files_are_stored_while_the_daemon_stops_whatever_their_credential(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        wire.context.authenticator = Doorkeeper()
        raw = await begin(wire, **ANNA)
        await raw.send(whole("a", b"1", **ANNA) + whole("b", b"2", **ANNA))
        wire.shutdown.no_new_uploads.fire()
        signals = [await raw.receive() for _ in range(3)]
        assert {"last": True} in signals
        assert stored("a", file=1) in signals
        assert stored("b", file=2) in signals


async def test_a_ticket_that_has_expired_is_accepted_for_a_small_file_that_is_stored(
    autojump_clock: MockClock,
) -> None:
    class Expiring(Doorkeeper):
        async def check(
            self, credential: str, client: str, *, allow_expired: bool = False
        ) -> Grant:
            grant = await super().check("anna", client, allow_expired=allow_expired)
            return evolve(grant, expired=credential == "old")

    store = MemoryStore()
    async with serving(store, limited()) as wire:
        wire.context.authenticator = Expiring()
        raw = await begin(wire, RESUMES, upload=f"{KEY}0", **NEW)
        await raw.send(whole("a", b"1", upload=f"{KEY}1", **NEW))
        assert await answers(raw, 1) == {1: stored("a")}
        for token, key in (("old", "1"), ("old", "2"), ("new", "3")):
            await raw.send(whole("a", b"1", upload=f"{KEY}{key}", token=token))
        found = await answers(raw, 3)
    assert (found[2], found[3]["code"]) == (stored("a"), "unauthorized")
    assert found[4] == stored("a (1)", name="a (1)")


async def test_a_client_that_reads_no_answers_is_not_served_without_end(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await wire.open_raw(lockstep=True)
        await raw.send(text_frame({"name": "0", "size": 0, "can": ["next"]}))
        await raw.receive()
        await raw.send(text_frame({"finished": True}))
        assert await raw.receive() == stored("0")
        with trio.move_on_after(30):
            for number in range(5000):
                await raw.send(whole(f"{number}", b"1"))
        count = len(store.contents)
        with trio.fail_after(1000):
            await wire.all_ended()
    assert count <= 256 + 64 * 3


async def test_data_between_files_is_no_file(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        await raw.send(chunk(b"") * 65 + whole("a", b"1"))
        signal = await raw.receive()
        assert (signal["code"], "next" in signal) == ("bad_message", False)
    assert store.contents == {"0": b""}


async def test_a_client_that_goes_on_is_ended_with_the_drain(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        raw = await begin(wire)
        wire.shutdown.no_new_uploads.fire()
        wire.shutdown.no_uploads.fire()

        async def go_on() -> None:
            while True:
                try:
                    await raw.send(whole("a", b"1"))
                except trio.BrokenResourceError:
                    return
                await trio.sleep(1)

        wire.nursery.start_soon(go_on)
        with trio.fail_after(100):
            await raw.receive_frames()


async def test_a_whole_file_that_is_coming_is_ended_with_the_drain(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), limited()) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 3))
        wire.shutdown.no_new_uploads.fire()
        await wait_all_tasks_blocked()
        began = trio.current_time()
        wire.shutdown.no_uploads.fire()
        while (signal := await raw.receive()) == {"last": True}:
            pass
        assert (signal["code"], signal["file"], "next" in signal) == ("shutting_down", 1, False)
        assert trio.current_time() == began


async def test_what_a_failed_file_was_granted_is_held_until_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), limited(whole=10, room=10)) as wire:
        share = wire.context.pool.share
        raw = await begin(wire)
        assert share.held == 10
        await raw.send(metadata("a", 5000))
        assert (await raw.receive())["ready"]
        await raw.send(text_frame({"abandon": True, "file": 1}))
        assert (await raw.receive())["code"] == "abandoned"
        await wait_all_tasks_blocked()
        assert share.held == 5010  # the client may have sent it before it read the error
        await raw.send(metadata("b", 5))
        await wait_all_tasks_blocked()
        assert share.held == 10


async def test_what_a_failed_file_was_granted_is_no_room(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), limited(whole=10, room=10)) as wire:
        raw = await begin(wire)
        await raw.send(metadata("a", 5000))
        assert (await raw.receive())["ready"]
        await raw.send(text_frame({"abandon": True, "file": 1}))
        assert (await raw.receive())["code"] == "abandoned"
        await raw.send(metadata("b", 5))
        await wait_all_tasks_blocked()
        await raw.send(header(BINARY, 11))
        signal = await raw.receive()
    assert (signal["code"], signal["file"], "next" in signal) == ("size_mismatch", 2, False)


class Once(Doorkeeper):
    """Each credential but "new" is a ticket that is valid once."""

    async def check(self, credential: str, client: str, *, allow_expired: bool = False) -> Grant:
        grant = await super().check("anna", client, allow_expired=allow_expired)
        return evolve(grant, once=None if credential == "new" else credential, until=2e10)


async def test_a_ticket_that_was_used_drops_no_kept_upload(autojump_clock: MockClock) -> None:
    config = evolve(limited(whole=200), resume=Resume(min_size=Size(1)))
    store = MemoryStore()
    async with serving(store, config) as wire:
        wire.context.authenticator = Once()
        raw = await begin(wire, RESUMES, upload=f"{KEY}0", **NEW)
        await raw.send(metadata("kept", 700, upload=f"{KEY}1", **{**NEW, "token": "t1"}))
        assert (await raw.receive())["ready"]
        await raw.send(chunk(bytes(600)))
        assert (await raw.receive())["ready"]
        await raw.stream.aclose()
        await wire.all_ended()
        wire.context.config = evolve(config, chunks=evolve(config.chunks, whole=Size(1000)))
        raw = await begin(wire, RESUMES, upload=f"{KEY}2", name="1", **NEW)
        for key, name, ticket, code, kept in (
            ("3", "other", "t2", None, 600),
            ("1", "kept", "t2", "unauthorized", 600),
            ("1", "kept", "t1", None, 0),
        ):
            await raw.send(whole(name, bytes(700), upload=f"{KEY}{key}", token=ticket))
            (found,) = (await answers(raw, 1)).values()
            assert found.get("code") == code
            assert (await wire.ledger.total()).kept == kept
    assert store.contents.keys() == {"0", "1", "other", "kept"}


async def test_a_ticket_that_is_valid_once_is_for_one_file_of_a_burst(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with serving(store, limited()) as wire:
        wire.context.authenticator = Once()
        raw = await begin(wire, RESUMES, upload=f"{KEY}0", **NEW)
        for number, ticket in ((1, "t1"), (2, "t1"), (3, "t2"), (1, "t1")):
            await raw.send(whole("a", b"1", upload=f"{KEY}{number}", token=ticket))
        await raw.send(whole("b", b"1", **NEW))
        found = await answers(raw, 5)
    assert [found[number].get("code") for number in range(1, 6)] == [
        None,
        "unauthorized",
        None,
        None,
        None,
    ]
    assert store.contents.keys() == {"0", "a", "a (1)", "b"}


async def test_kept_uploads_give_way_to_all_files_of_a_burst_together(
    autojump_clock: MockClock,
) -> None:
    config = limited(whole=200, room=2000)
    config = evolve(config, resume=Resume(min_size=Size(1)), quota=Quota(user_bytes=Size(1000)))
    store = MemoryStore()
    async with serving(store, config) as wire:
        raw = await keyed(wire)
        await raw.send(metadata("kept", 700, upload=f"{KEY}1"))
        assert (await raw.receive())["ready"]
        await raw.send(chunk(bytes(600)))
        assert (await raw.receive())["ready"]
        await raw.stream.aclose()
        await wire.all_ended()
        assert (await wire.ledger.total()).kept == 600
        raw = await keyed(wire, f"{KEY}2", "1")
        await raw.send(b"".join(whole(f"{number}", bytes(150)) for number in range(2, 7)))
        found = await answers(raw, 5)
        assert found == {number: stored(f"{number + 1}") for number in range(1, 6)}
        total = await wire.ledger.total()
        assert (total.bytes, total.kept) == (750, 0)
