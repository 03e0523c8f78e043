"""The answers to the question which files are stored already."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from helpers.asking import (
    ANNA,
    BERTA,
    MODIFIED,
    Door,
    answering,
    entry,
    first,
    held,
    laid_out,
    opened,
    put,
    question,
)
from helpers.furthering import (
    Signal,
    answers,
    chunk,
    end,
    finished,
    limited,
    metadata,
    stored,
    whole,
)
from helpers.memory_store import MemoryStore
from helpers.uploading import StubbornStore, sleeping
from helpers.wire import RawPeer, Wire, serving, text_frame
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.ledger.base import LedgerError
from galileod.ledger.records import FileEntry, Wanted
from galileod.policy.settings import Quota
from galileod.storage.errors import StorageError
from galileod.storage.finished import Standing
from galileod.storage.local.store import LocalStore
from galileod.storage.settings import Ask
from galileod.uploads.held import is_unchanged

pytestmark = pytest.mark.timeout(30)

ABANDONED = {"code": "abandoned", "fatal": True, "next": True}
DATA = b"hello"
NS = 1_000_000_000


def sha1(data: bytes) -> dict[str, str]:
    value = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "SHA1", "value": value.upper()}


def door(wire: Wire) -> Door:
    """Let this server ask for credentials."""
    authenticator = wire.context.authenticator = Door()
    return authenticator


# Who may ask


@pytest.mark.parametrize("authenticated", [True, False])
@pytest.mark.parametrize("setting", ["users", "everybody", "nobody"])
async def test_it_is_agreed_with_those_who_may_ask(
    autojump_clock: MockClock, setting: Ask, *, authenticated: bool
) -> None:
    async with serving(MemoryStore(), answering(setting)) as wire:
        if authenticated:
            door(wire)
        _, signal = await first(wire, 0, **ANNA)
    allowed = setting == "everybody" or (setting == "users" and authenticated)
    assert signal["can"] == (["ask", "next"] if allowed else ["next"])


async def test_it_is_not_agreed_without_further_files(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), answering(config=limited(following=0))) as wire:
        _, signal = await first(wire)
    assert signal == {"ready": True, "can": []}


async def test_a_user_hears_of_nobody_elses_files(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, answering("users")) as wire:
        door(wire)
        looked = watch(store)
        anna, berta = await opened(wire, **ANNA), await opened(wire, **BERTA, name="b")
        await put(anna, 1, "a", DATA, **ANNA)
        both = entry("a", 5), entry("a", 5, hash=sha1(DATA))
        assert await held(berta, *both) == []
        # Nothing is looked at, as for a file that nobody has.
        assert await held(berta, entry("nobody's", 5)) == []
        assert looked == []
        assert await held(anna, *both) == [0, 1]


async def test_the_credential_is_judged_at_each_question(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), answering("users")) as wire:
        authenticator = door(wire)
        raw = await opened(wire, **ANNA)
        await put(raw, 1, "a", DATA, **ANNA)
        assert await held(raw, entry("a", 5)) == [0]
        authenticator.expired.add("anna")
        assert await held(raw, entry("a", 5)) == []
        authenticator.expired.clear()
        authenticator.revoked.add("anna")
        await raw.send(question(entry("a", 5)))
        signal = await raw.receive()
        assert (signal["code"], "next" in signal) == ("unauthorized", False)


async def test_a_reload_may_forbid_it(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        await put(raw, 1, "a", DATA)
        wire.context.config = answering("nobody")
        assert await held(raw, entry("a", 5)) == []


# What is held


async def test_a_file_is_held_by_its_place_size_and_time_or_hash(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), laid_out("{folder}/{name}")) as wire:
        raw = await opened(wire)
        assert await put(raw, 1, "a", DATA, folder="x/y") == "x/y/a"
        file = {"name": "a", "size": 5, "folder": "x/y"}
        good, bad = {"modified": MODIFIED}, {"modified": MODIFIED + 1}
        same, other = {"hash": sha1(DATA)}, {"hash": sha1(b"other")}
        entries = [
            {**file, **good},
            {**file, **same},
            {**file, **good, **same},
            {**file, "folder": "/x//./y/", **good},
            {**file, **bad},
            {**file, **other},
            {**file, **bad, **same},
            {**file, **good, **other},
            {**file, "hash": {"type": "sha256", "value": "00"}},
            {**file, "name": "b", **good},
            {**file, "name": "..", **good},
            {**file, "size": 6, **good},
            {**file, "folder": "x", **good},
            {**file, "folder": "/".join("x" * 40), **good},
            {"name": "a", "size": 5, **good},
        ]
        assert await held(raw, *entries, n=-7) == [0, 1, 2, 3]


@pytest.mark.parametrize("layout", ["{name}", "{date}/{name}", "{user}/{folder}/{date}/{name}"])
async def test_files_are_found_in_any_layout_and_under_the_names_they_got(
    tmp_path: Path, layout: str
) -> None:
    config = laid_out(layout, str(tmp_path / "uploads"))
    store = LocalStore.open(config.storage)
    try:
        async with serving(store, config) as wire:
            raw = await opened(wire)
            paths = set()
            for number, (folder, data) in enumerate((("x", b"1"), ("y", b"22"), ("x", b"333"))):
                paths.add(await put(raw, number + 1, "a?.jpg", data, folder=folder))
            assert len(paths) == 3
            entries = [
                entry("a?.jpg", size, folder=folder) for folder in "xy" for size in (1, 2, 3)
            ]
            assert await held(raw, *entries) == [0, 2, 4]
    finally:
        store.close()


async def test_what_was_removed_or_changed_is_not_held(tmp_path: Path) -> None:
    config = laid_out("{folder}/{name}", str(tmp_path / "uploads"))
    store = LocalStore.open(config.storage)
    try:
        async with serving(store, config) as wire:
            raw = await opened(wire)
            names = ("kept", "removed", "longer", "touched", "linked", "folder")
            for number, name in enumerate(names):
                await put(raw, number + 1, name, DATA)
            directory = tmp_path / "uploads"
            for name in ("removed", "linked", "folder"):
                (directory / name).unlink()
            (directory / "linked").symlink_to("kept")
            (directory / "folder").mkdir()
            (directory / "longer").write_bytes(DATA + b"!")
            os.utime(directory / "touched", (2_000_000_000, 2_000_000_000))
            entries = [entry(name, 5) for name in names]
            assert await held(raw, *entries) == [0]
    finally:
        store.close()


async def test_one_of_several_equal_files_is_enough(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with serving(store, answering()) as wire:
        raw = await opened(wire)
        for number in (1, 2):
            await put(raw, number, "a", DATA)
        assert store.contents.keys() == {"0", "a", "a (1)"}
        del store.contents["a (1)"]
        assert await held(raw, entry("a", 5)) == [0]
        del store.contents["a"]
        assert await held(raw, entry("a", 5)) == []


STORED = FileEntry("a", "anna", 5, stored=1_700_000_000.5, modified=MODIFIED)


@pytest.mark.parametrize(
    ("size", "modified_ns", "unchanged"),
    [
        (5, MODIFIED * 1_000_000, True),
        (5, MODIFIED * 1_000_000 + 2 * NS, True),
        (5, MODIFIED * 1_000_000 - 2 * NS, True),
        (5, MODIFIED * 1_000_000 + 2 * NS + 1, False),
        (4, MODIFIED * 1_000_000, False),
        (5, 1_700_000_000 * NS, True),
        (5, 1_700_000_002 * NS, True),
        (5, 1_700_000_003 * NS, False),
        (5, 1_699_997_000 * NS, True),
        (5, 1_699_990_000 * NS, False),
    ],
)
def test_the_time_of_a_file_is_the_clients_or_that_of_its_storing(
    size: int, modified_ns: int, *, unchanged: bool
) -> None:
    assert is_unchanged(STORED, Standing(size, modified_ns)) is unchanged


def test_a_file_of_which_nothing_is_known_is_not_held() -> None:
    found = FileEntry("a", "anna", 5)
    assert not is_unchanged(found, Standing(5, 0))
    assert is_unchanged(evolve(found, modified=MODIFIED), Standing(5, MODIFIED * 1_000_000))


def test_a_store_that_knows_which_upload_it_has_a_file_of_decides_by_that() -> None:
    stored = evolve(STORED, upload="1")
    assert is_unchanged(stored, Standing(5, 0, "1"))
    assert not is_unchanged(stored, Standing(4, 0, "1"))
    assert not is_unchanged(stored, Standing(5, MODIFIED * 1_000_000, "2"))
    assert is_unchanged(STORED, Standing(5, MODIFIED * 1_000_000, "2"))


# What a question costs


def watch(store: MemoryStore) -> list[Sequence[str]]:
    """The names that are looked at, by call."""
    calls, look = list[Sequence[str]](), store.look

    async def counted(names: Sequence[str]) -> Sequence[Standing | None]:
        calls.append(names)
        return await look(names)

    store.look = counted  # type: ignore[method-assign]
    return calls


async def test_a_question_costs_one_query_and_one_look(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, queries = MemoryStore(), list[Sequence[str]]()
    async with serving(store, answering()) as wire:
        raw = await opened(wire)
        for number in range(1, 4):
            await put(raw, number, "a", DATA)
        looked, find_files = watch(store), wire.ledger.find_files

        async def counted(user: str, wanted: Sequence[Wanted]) -> Mapping[int, Sequence[FileEntry]]:
            queries.append([one.place for one in wanted])
            return await find_files(user, wanted)

        monkeypatch.setattr(wire.ledger, "find_files", counted)
        entries = [entry("a", 5), entry("b", 5), entry("..", 5)] * 85
        assert await held(raw, *entries) == list(range(0, 255, 3))
    assert queries == [["a", "b"] * 85]
    (names,) = looked
    assert len(names) == 2 * 85
    assert (
        wire.context.metrics.registry.get_sample_value(
            "galileod_asked_files_total", {"held": "yes"}
        )
        == 85
    )


async def test_a_few_questions_are_looked_up_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0

    async def slow(*_: object) -> Mapping[int, Sequence[FileEntry]]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return {}

    async with serving(MemoryStore(), answering()) as wire:
        monkeypatch.setattr(wire.ledger, "find_files", slow)
        connections = [await opened(wire, name=f"{number}") for number in range(5)]
        for raw in connections:
            await raw.send(question(entry("a", 5)))
        for raw in connections:
            assert await raw.receive() == {"held": [], "n": 1}
    assert most == 2


# Failures


@pytest.mark.parametrize("broken", ["ledger", "store", "hanging"])
async def test_where_the_lookup_fails_nothing_is_held_and_the_connection_goes_on(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async def fail_ledger(*_: object) -> Mapping[int, Sequence[FileEntry]]:
        raise LedgerError("the disk is on fire")

    async def fail_store(*_: object) -> Sequence[Standing | None]:
        raise StorageError("the disk is on fire")

    async def hang(*_: object) -> Sequence[Standing | None]:
        await trio.sleep_forever()
        raise AssertionError

    store = MemoryStore()
    with capture_logs() as logs:
        async with serving(store, answering()) as wire:
            raw = await opened(wire)
            await put(raw, 1, "a", DATA)
            with monkeypatch.context() as patch:
                if broken == "ledger":
                    patch.setattr(wire.ledger, "find_files", fail_ledger)
                else:
                    patch.setattr(store, "look", fail_store if broken == "store" else hang)
                await raw.send(question(entry("a", 5)))
                pings, signal = await raw.receive_after_pings()
                assert signal == {"held": [], "n": 1}
                assert pings >= (2 if broken == "hanging" else 0)
            assert await held(raw, entry("a", 5), n=2) == [0]
    (line,) = [line for line in logs if line["event"] == "files.lookup_failed"]
    reason = "the disk has not answered in time" if broken == "hanging" else "the disk is on fire"
    assert (line["reason"], line["log_level"]) == (reason, "warning")
    asked = [(each["files"], each["held"]) for each in logs if each["event"] == "files.asked"]
    assert asked == [(1, 0), (1, 1)]


async def hanging(*_: object) -> Mapping[int, Sequence[FileEntry]]:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_client_that_leaves_is_not_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        monkeypatch.setattr(wire.ledger, "find_files", hanging)
        began = trio.current_time()
        await raw.send(question(entry("a", 5)))
        await raw.stream.aclose()
        await wire.all_ended()
        assert trio.current_time() - began < 10


async def test_a_daemon_that_stops_answers_no_more(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        wire.shutdown.no_new_uploads.fire()
        assert await raw.receive() == {"last": True}
        assert await held(raw, entry("0", 0)) == [0]
        monkeypatch.setattr(wire.ledger, "find_files", hanging)
        await raw.send(question(entry("a", 5)))
        await trio.testing.wait_all_tasks_blocked()
        wire.shutdown.no_uploads.fire()
        assert (await raw.receive())["code"] == "shutting_down"


# Beside files


@pytest.mark.parametrize("size", [0, 10, 5000])
async def test_file_0_is_asked_for_abandoned_and_costs_nothing(
    autojump_clock: MockClock, size: int
) -> None:
    store = MemoryStore()
    async with serving(store, answering()) as wire:
        raw, _ = await first(wire, size)
        assert await held(raw, entry("0", size)) == []
        assert await held(raw, entry("0", size), n=2) == []
        await raw.send(text_frame({"abandon": True}))
        signal = await raw.receive()
        assert signal.items() >= ABANDONED.items()
        await raw.send(whole("a", DATA, modified=MODIFIED))
        assert await answers(raw, 1) == {1: stored("a")}
        assert await held(raw, entry("a", 5), n=3) == [0]
        assert await end(raw) == []
        await wire.all_ended()
        assert wire.ledger.holdings()["test"].files == 1
    assert (store.contents, store.open_sinks) == ({"a": DATA}, 0)


@pytest.mark.parametrize("size", [10, 5000])
async def test_file_0_is_sent_behind_a_question(autojump_clock: MockClock, size: int) -> None:
    store = MemoryStore()
    async with serving(store, answering()) as wire:
        raw, ready = await first(wire, size)
        assert ready["chunksize"] == size
        assert await held(raw, entry("0", size)) == []
        await raw.send(chunk(bytes(size)))
        assert await raw.receive() == {"ready": True}
        await raw.send(finished(bytes(size)))
        assert await raw.receive() == stored("0")
        assert await held(raw, entry("0", size), n=2) == [0]


async def test_file_0_that_is_refused_may_be_asked_for(autojump_clock: MockClock) -> None:
    store = MemoryStore("reject")
    config = answering()
    config = evolve(config, storage=evolve(config.storage, on_conflict="reject"))
    async with serving(store, config) as wire:
        await end(await opened(wire))
        raw, signal = await first(wire)
        assert (signal["code"], signal["next"], signal["can"]) == ("conflict", 256, ["ask", "next"])
        assert await held(raw, entry("0", 0)) == [0]


async def test_a_question_is_answered_while_files_are_stored(autojump_clock: MockClock) -> None:
    store = StubbornStore("never", sleeping(5))
    async with serving(store, answering(config=limited(whole=3))) as wire:
        raw = await opened(wire)
        store.act_at("commit")
        await raw.send(whole("a", b"1") + metadata("large", 4))
        assert await raw.receive() == {"ready": True, "chunksize": 4, "file": 2}
        await raw.send(chunk(b"1234") + finished(b"1234") + question(entry("0", 0)))
        assert await raw.receive() == {"held": [0], "n": 1}
        assert await answers(raw, 2) == {1: stored("a"), 2: stored("large")}


async def test_files_before_a_question_are_stored_while_it_is_answered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        monkeypatch.setattr(wire.ledger, "find_files", hanging)
        await raw.send(whole("a", b"1") + question(entry("0", 0)))
        assert await answers(raw, 1) == {1: stored("a")}


@pytest.mark.parametrize("bad", [{"ask": [], "n": 1}, {"ask": 5, "n": 1}], ids=str)
async def test_a_question_of_another_form_ends_the_connection(
    autojump_clock: MockClock, bad: dict[str, object]
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        await raw.send(whole("a", b"1") + text_frame(bad))
        found = [await raw.receive() for _ in range(2)]
        assert {signal.get("code") for signal in found} == {None, "bad_message"}
        (fault,) = [signal for signal in found if signal.get("code")]
        assert "next" not in fault


async def test_a_question_within_a_file_ends_the_connection(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        await raw.send(metadata("a", 3) + question(entry("0", 0)))
        signal = await raw.receive()
        assert (signal["code"], signal["file"], "next" in signal) == ("bad_message", 1, False)


async def test_who_has_not_agreed_is_not_answered(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), answering("nobody")) as wire:
        raw, _ = await first(wire)
        await raw.send(question(entry("0", 0)) + text_frame({"finished": True}))
        assert await raw.receive() == stored("0")


# Time


async def ask_every_50_seconds(raw: RawPeer) -> list[Signal]:
    """Ask until a signal comes that is no answer; returns all signals."""
    signals = list[Signal]()
    while not signals or "held" in signals[-1]:
        with trio.move_on_after(50):
            signals.append(await raw.receive())
            continue
        await raw.send(question(entry("0", 0)))
        signals.append(await raw.receive())
    return signals


async def test_a_client_that_only_asks_is_not_idle_and_is_not_served_without_end(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        began = trio.current_time()
        signals = await ask_every_50_seconds(raw)
        assert signals[-1] == {"last": True}
        assert trio.current_time() - began == pytest.approx(3600, abs=60)
        assert len(signals) > 70


async def test_a_client_that_floods_a_server_with_questions_is_ended(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.uploads.further.LONGEST", 100)
    async with serving(MemoryStore(), answering()) as wire:
        raw = await opened(wire)
        began = trio.current_time()

        async def flood() -> None:
            while True:
                try:
                    await raw.send(question(entry("0", 0)) * 20)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                await trio.sleep(1)

        wire.nursery.start_soon(flood)
        frames = await raw.receive_frames()
        signals = [each for each in frames if each.opcode == 1]
        assert {"last": True} in [each.signal for each in signals]
        assert trio.current_time() - began <= 100 + 5 + 5 + 5


@pytest.mark.parametrize("size", [0, 10, 5000])
async def test_file_0_waits_for_questions_but_not_for_ever(
    autojump_clock: MockClock, size: int
) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw, _ = await first(wire, size)
        began = trio.current_time()
        signals = await ask_every_50_seconds(raw)
        assert signals[-1]["code"] == "idle"
        assert trio.current_time() - began == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("size", [0, 10, 5000])
async def test_silence_behind_a_question_is_silence(autojump_clock: MockClock, size: int) -> None:
    async with serving(MemoryStore(), answering()) as wire:
        raw, _ = await first(wire, size)
        await held(raw, entry("0", 0))
        began = trio.current_time()
        signal: dict[str, Any] = (await raw.receive_after_pings())[1]
        assert signal["code"] == "idle"
        assert trio.current_time() - began == pytest.approx(60, abs=1)


async def test_a_quota_for_running_uploads_does_not_keep_a_question_back(
    autojump_clock: MockClock,
) -> None:
    store = StubbornStore("never", sleeping(5))
    config = evolve(answering(), quota=Quota(user_uploads=1))
    async with serving(store, config) as wire:
        raw = await opened(wire)
        store.act_at("commit")
        await raw.send(whole("a", b"1") + whole("b", b"2") + question(entry("0", 0)))
        assert await raw.receive() == {"held": [0], "n": 1}
        assert await answers(raw, 2) == {1: stored("a"), 2: stored("b")}


async def test_where_files_are_is_told_if_others_may_replace_them(
    autojump_clock: MockClock,
) -> None:
    config = answering()
    config = evolve(config, storage=evolve(config.storage, on_conflict="replace"))
    async with serving(MemoryStore(), config) as wire:
        raw = await opened(wire)
        await put(raw, 1, "a", DATA)
        await raw.send(question(entry("no", 5), entry("a", 5), entry("0", 0)))
        assert await raw.receive() == {"held": [1, 2], "paths": ["a", "0"], "n": 1}
        await raw.send(question(entry("no", 5)))
        assert await raw.receive() == {"held": [], "n": 1}
