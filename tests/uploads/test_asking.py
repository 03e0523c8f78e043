"""An upload waits for the hook that decides about it: what the client sees and may do meanwhile."""

import json
from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import evolve
from helpers.furthering import answers, begin, limited, metadata, whole
from helpers.memory_store import MemoryStore
from helpers.uploading import DATA, data_frame, of_event
from helpers.wire import CLOSE, PING, Frame, Wire, frame, serving, text_frame
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.hooks.admit import Answer
from galileod.hooks.settings import AdmitFailure, HookError, Hooks
from galileod.net.settings import Timeouts
from galileod.units import Duration
from galileod.uploads.asking import Asking

DELAY = 50
PINGS = DELAY // 20
BEGIN = text_frame({"name": "a.bin", "size": len(DATA)})
HOOKS = Hooks(admit=("true",), admit_timeout=Duration(60), admit_parallel=4)

Act = Callable[[str], Awaitable[Answer]]
"""Decides about the file of this name."""


class Judge:
    """Answers as `act` does; `asked` has the names of the files."""

    def __init__(self, act: Act) -> None:
        self.asked: list[str] = []
        self.running = self.most = 0
        self._act = act

    async def ask(self, _hooks: Hooks, question: bytes, _upload: str, _location: str) -> Answer:
        name = json.loads(question)["name"]
        self.asked.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._act(name)
        finally:
            self.running -= 1


def judged(wire: Wire, act: Act) -> Judge:
    """Have `act` decide about the uploads of this server."""
    judge, context = Judge(act), wire.context
    context.asking = Asking(context.metrics, context.store.location, judge.ask)
    return judge


def after(seconds: float, answer: Answer | Exception) -> Act:
    async def act(_name: str) -> Answer:
        await trio.sleep(seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return act


def config(hooks: Hooks = HOOKS) -> Config:
    return evolve(limited(room=100_000), hooks=hooks)


async def test_a_client_gets_pings_while_the_hook_is_asked(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(DELAY, Answer()))
        raw = await wire.open_raw()
        await raw.send(BEGIN)
        pings, signal = await raw.receive_after_pings()
        assert (pings, signal["ready"]) == (PINGS, True)
        await raw.send(data_frame(DATA) + text_frame({"finished": True}))
        assert (await raw.receive_after_pings())[0] == 0
        await raw.stream.aclose()


async def test_the_client_of_a_whole_file_gets_pings_too(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(0, Answer()))
        raw = await begin(wire)
        judged(wire, after(DELAY, Answer("No.")))
        await raw.send(whole("a", b"x"))
        for _ in range(PINGS):
            assert await raw.receive_frame() == Frame(PING, b"")
        assert (await answers(raw, 1))[1]["code"] == "not_admitted"
        await raw.stream.aclose()


async def test_the_time_for_data_begins_when_the_hook_has_answered(
    autojump_clock: MockClock,
) -> None:
    hooks = evolve(HOOKS, admit_timeout=Duration(1000))
    settings = evolve(config(hooks), timeouts=Timeouts(idle=Duration(5)))
    async with serving(MemoryStore(), settings) as wire:
        judged(wire, after(500, Answer()))
        raw = await wire.open_raw()
        await raw.send(BEGIN)
        _, signal = await raw.receive_after_pings()
        assert (signal["ready"], trio.current_time()) == (True, 500)
        _, signal = await raw.receive_after_pings()
        assert (signal["code"], trio.current_time()) == ("idle", 505)
        await raw.stream.aclose()


async def test_many_small_files_take_turns_at_the_hook(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(0, Answer()))
        raw = await begin(wire)
        judge = judged(wire, after(3, Answer()))
        await raw.send(b"".join(whole(f"f{number}", b"x") for number in range(20)))
        found = await answers(raw, 20)
        assert all(signal["close"] for signal in found.values())
        assert (trio.current_time(), judge.most, len(judge.asked)) == (15, 4, 20)
        assert len(set(judge.asked)) == 20
        await raw.stream.aclose()


async def test_one_that_waits_too_long_for_its_turn_is_not_asked_about(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), config(evolve(HOOKS, admit_parallel=1))) as wire:
        judged(wire, after(0, Answer()))
        raw = await begin(wire)
        judge = judged(wire, after(59, Answer()))
        await raw.send(b"".join(whole(str(number), b"x") for number in range(3)))
        codes: list[object] = []
        while len(codes) < 3:
            _, signal = await raw.receive_after_pings()
            codes.append(signal.get("code"))
        assert sorted(map(str, codes)) == ["None", "None", "busy"]
        assert len(judge.asked) == 2
        await raw.stream.aclose()


@pytest.mark.parametrize(
    ("failure", "policy", "stored"),
    [
        (HookError("it is down"), "refuse", False),
        (HookError("it is down"), "accept", True),
        (RuntimeError("a bug"), "refuse", False),
        (RuntimeError("a bug"), "accept", True),
    ],
)
async def test_a_hook_that_does_not_answer_leaves_it_to_the_configuration(
    autojump_clock: MockClock, failure: Exception, policy: AdmitFailure, *, stored: bool
) -> None:
    hooks = evolve(HOOKS, admit_failure=policy)
    with capture_logs() as logs:
        async with serving(MemoryStore(), config(hooks)) as wire:
            judged(wire, after(1, failure))
            raw = await wire.open_raw()
            await raw.send(BEGIN)
            signal = await raw.receive()
            assert signal.get("code") == (None if stored else "busy")
            await raw.stream.aclose()
    (line,) = of_event(logs, "hook.unanswered")
    assert line["accepted"] is stored
    assert bool(of_event(logs, "hook.error")) is isinstance(failure, RuntimeError)


async def test_nothing_is_reserved_and_nothing_opened_before_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(DELAY, Answer("No.")))
        raw = await wire.open_raw()
        await raw.send(BEGIN)
        await wait_all_tasks_blocked()
        assert not wire.context.admission.running
        assert (await wire.context.ledger.total()).reserved == 0
        assert (await raw.receive_after_pings())[1]["error"] == "No."
        await raw.stream.aclose()


async def test_a_client_that_leaves_is_not_waited_for(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), config()) as wire:
            judge = judged(wire, after(DELAY, Answer()))
            raw = await wire.open_raw()
            await raw.send(BEGIN)
            await wait_all_tasks_blocked()
            assert judge.running == 1
            await raw.send(frame(CLOSE, (1000).to_bytes(2)))
            await raw.receive_frame()
            await wait_all_tasks_blocked()
            assert (judge.running, trio.current_time()) == (0, 0)
            await raw.stream.aclose()
            await wire.all_ended()
    assert of_event(logs, "upload.failed")[0]["code"] == "disconnected"


async def test_a_newer_connection_takes_over_while_the_hook_is_asked(
    autojump_clock: MockClock,
) -> None:
    first = text_frame({"name": "a", "size": 5, "can": ["resume"], "upload": "0" * 32})
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(DELAY, Answer()))
        older, newer = await wire.open_raw(), await wire.open_raw()
        await older.send(first)
        await wait_all_tasks_blocked()
        await newer.send(first)
        assert (await older.receive())["code"] == "taken_over"
        assert trio.current_time() == 0
        assert (await newer.receive_after_pings())[1]["ready"]
        await older.stream.aclose()
        await newer.stream.aclose()


async def test_small_files_do_not_wait_behind_one_that_is_not_decided(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(0, Answer()))
        raw = await begin(wire)

        async def act(name: str) -> Answer:
            await trio.sleep(40 if name == "slow" else 1)
            return Answer()

        judged(wire, act)
        await raw.send(b"".join(whole(name, b"x") for name in ("slow", "a", "b")))
        assert set(await answers(raw, 2)) == {2, 3}
        assert trio.current_time() == 1
        _, signal = await raw.receive_after_pings()
        assert (signal["file"], trio.current_time()) == (1, 40)
        await raw.stream.aclose()


async def test_a_large_further_file_is_asked_about_before_its_ready(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), config()) as wire:
        judged(wire, after(0, Answer()))
        raw = await begin(wire)
        judged(wire, after(1, Answer("No.")))
        await raw.send(metadata("large", 10_000_000))
        (signal,) = (await answers(raw, 1)).values()
        assert (signal["code"], signal["error"], signal["next"]) == ("not_admitted", "No.", True)
        await raw.send(whole("b", b"x"))
        assert (await answers(raw, 1))[2]["code"] == "not_admitted"
        await raw.stream.aclose()
