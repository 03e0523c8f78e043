"""Several uploads side by side, on a clock that jumps."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
from trio.testing import MockClock

from galileod.client import (
    ConnectError,
    LostError,
    Options,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from galileod.client.address import parse_url
from galileod.client.asking import SkipExisting
from galileod.client.command.batch import GO_ON, GO_ON_OF_MANY, Batch, Kept, Tally
from galileod.client.command.jobs import Job
from galileod.client.lane import Lane
from galileod.client.retry import RetryPolicy
from galileod.client.sources import BytesSource, Source
from galileod.client.state_directory import State
from galileod.client.transfer import Memory
from galileod.client.upload import Attempt, Outcome
from galileod.protocol.messages import Metadata, Resumption

OneAttempt = Callable[[str, Attempt, Options], Awaitable[None]]
"""Sends the job of this name, once."""

MakeBatch = Callable[..., Batch]


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> MakeBatch:
    """Makes a batch of which a test plays the attempts."""

    def make(
        one_attempt: OneAttempt,
        parallel: int,
        reporter: "Heard",
        policy: RetryPolicy | None = None,
    ) -> Batch:
        async def attempt(
            _lane: Lane, _release: object, source: Source, options: Options, attempt: Attempt
        ) -> Outcome:
            await one_attempt(source.name, attempt, options)
            return Outcome(None, resumable=False, chunks=1, warnings=())

        monkeypatch.setattr(Lane, "_attempt", attempt)
        address, state = parse_url("ws://h/"), State()
        policy = policy or RetryPolicy()
        return Batch(address, Options(), policy, state, ten_bytes, parallel, reporter)

    return make


@asynccontextmanager
async def ten_bytes(job: Job) -> AsyncIterator[Source]:
    yield BytesSource(memoryview(bytes(10)), job.name)


async def nothing() -> bytes:
    return b""


class Heard:
    """What a reporter is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, event: str) -> Callable[..., None]:
        return lambda job, *rest, **_: self.told.append((event, job.name, *rest))

    def events(self, name: str) -> list[object]:
        return [told[0] for told in self.told if told[1] == name]


def jobs(*names: str) -> list[Job]:
    return [Job(name, nothing, name, 10) for name in names]


async def test_failures_of_the_transport_are_tried_again_and_others_are_not(
    autojump_clock: MockClock,
    batch: MakeBatch,
) -> None:
    left: dict[str, list[SendError]] = {
        "good": [],
        "weak": [LostError("a"), LostError("b")],
        "lost": [LostError("x")] * 9,
        "refused": [RefusedError({"error": "x"})] * 9,
    }

    async def attempt(name: str, one: Attempt, options: Options) -> None:
        await trio.sleep(1)
        one.on_sent(5)
        assert options.on_warning
        options.on_warning({"error": "careful"})
        if left[name]:
            raise left[name].pop()

    heard, tally = Heard(), Tally(4)
    policy = RetryPolicy(retries=2, delay=10)
    await batch(attempt, 2, heard, policy).run(jobs(*left), tally)
    assert (tally.stored, tally.failed, tally.left, tally.size) == (2, 2, 0, 20)
    once = ["started", "moved", "warned"]
    assert heard.events("good") == [*once, "stored"]
    assert heard.events("weak") == [*once, "retrying", *once, "retrying", *once, "stored"]
    assert heard.events("lost")[-1] == "failed"
    assert len(left["lost"]) == 9 - 3
    assert heard.events("refused") == [*once, "failed"]
    assert trio.current_time() < 2 * 10 + 2 * 20 + 10
    first, second = (told[3] for told in heard.told if told[:2] == ("retrying", "weak"))
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert 5 <= first <= 10 <= second <= 20


@pytest.mark.parametrize("parallel", [1, 3, 100])
async def test_as_many_run_at_once_as_asked_and_in_their_order(
    autojump_clock: MockClock, batch: MakeBatch, parallel: int
) -> None:
    running, most, begun = 0, 0, list[str]()

    async def attempt(name: str, one: Attempt, options: Options) -> None:
        nonlocal running, most
        begun.append(name)
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    names = [str(number) for number in range(10)]
    tally = Tally(10)
    await batch(attempt, parallel, Heard()).run(jobs(*names), tally)
    assert most == min(parallel, 10)
    assert sorted(begun) == names
    assert tally.stored == 10


async def test_the_tally_is_right_when_it_is_broken_off(
    autojump_clock: MockClock, batch: MakeBatch
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        await trio.sleep(int(name))

    tally = Tally(3)
    with trio.move_on_after(15):
        await batch(attempt, 1, Heard()).run(jobs("5", "5", "10"), tally)
    assert (tally.stored, tally.failed, tally.left) == (2, 0, 1)


async def test_a_file_that_cannot_be_had_is_not_begun(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def fail(job: Job) -> AsyncIterator[Source]:
        if job.name == "a":
            raise SourceError("a is a folder.")
        yield BytesSource(memoryview(b""), job.name)

    heard = Heard()
    address = parse_url("ws://h/")
    one = Batch(address, Options(), RetryPolicy(), State(), fail, 1, heard)
    await one.run(jobs("a"), Tally(1))
    assert heard.events("a") == ["failed"]


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectError("Nobody listens."), 8),
        (ConnectError("The certificate is not trusted.", transient=False), 1),
        (UpgradeError("HTTP 401.", 401), 1),
    ],
    ids=str,
)
async def test_where_there_is_no_server_it_is_found_out_once(
    autojump_clock: MockClock, batch: MakeBatch, parallel: int, error: SendError, attempts: int
) -> None:
    tried: list[str] = []

    async def attempt(name: str, one: Attempt, options: Options) -> None:
        tried.append(name)
        raise error

    names = [str(number) for number in range(20)]
    heard, tally = Heard(), Tally(20)
    await batch(attempt, parallel, heard).run(jobs(*names), tally)
    assert tally.failed == 20
    assert len(tried) <= attempts * parallel
    ends = [told[0] for told in heard.told if told[0] in ("failed", "dropped")]
    assert sorted(ends) == ["dropped"] * 19 + ["failed"]


@pytest.mark.parametrize("error", [UpgradeError("HTTP 503.", 503), RefusedError({"error": "No."})])
async def test_a_server_that_is_there_is_asked_for_each_file(
    autojump_clock: MockClock, batch: MakeBatch, error: SendError
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        raise error

    heard, tally = Heard(), Tally(3)
    await batch(attempt, 1, heard, RetryPolicy(retries=1)).run(jobs("a", "b", "c"), tally)
    ends = [told[0] for told in heard.told if told[0] not in ("started", "retrying")]
    assert ends == ["failed"] * 3


async def test_one_that_is_being_sent_shows_that_there_is_a_server(
    autojump_clock: MockClock,
    batch: MakeBatch,
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        if name != "good":
            raise ConnectError("There is no way.")
        for sent in range(100):
            one.on_sent(sent)
            await trio.sleep(1)

    heard = Heard()
    one = batch(attempt, 2, heard, RetryPolicy(retries=1, delay=5))
    await one.run(jobs("good", "a", "b"), Tally(3))
    assert not [told for told in heard.told if told[0] == "dropped"]


class Remembering:
    """Remembers what was begun, unless a test says no."""

    def __init__(self, remembers: Callable[[str], bool]) -> None:
        self._remembers = remembers

    async def recall(self, _source: Source) -> tuple[str | None, Metadata | None]:
        return None, None

    async def remember(self, source: Source, _key: str) -> bool:
        return self._remembers(source.name)

    async def forget(self) -> None:
        pass


@pytest.fixture
def remembers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], None]:
    """Sets which names are remembered."""

    def set_to(which: Callable[[str], bool]) -> None:
        @contextmanager
        def remembered(*_: object) -> Iterator[Memory]:
            yield Remembering(which)

        monkeypatch.setattr("galileod.client.lane.remembered", remembered)

    return set_to


async def test_what_is_kept_of_the_interrupted_is_told(
    autojump_clock: MockClock,
    batch: MakeBatch,
    remembers: Callable[[Callable[[str], bool]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        await one.on_agreed(Resumption(0, 3600))
        if name != "small":
            one.on_sent(4)
        await trio.sleep_forever()

    async def nothing_abandoned(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("galileod.client.transfer.abandon_cancelled", nothing_abandoned)
    remembers(lambda name: name != "unkept")
    one = batch(attempt, 3, Heard())
    with trio.move_on_after(1):
        await one.run(jobs("kept", "small", "unkept"), Tally(3))
    assert one.kept == [Kept(4, 10, 3600)]


@pytest.mark.parametrize(("others", "skip"), [(0, None), (1, None), (1, "modified")])
@pytest.mark.parametrize("kept", [False, True])
async def test_how_to_go_on_after_a_failure_is_told_if_one_can(
    autojump_clock: MockClock,
    batch: MakeBatch,
    remembers: Callable[[Callable[[str], bool]], None],
    kept: bool,
    others: int,
    skip: SkipExisting | None,
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        if name == "other":
            return
        await one.on_agreed(Resumption(4, 60))
        raise LostError("Lost.")

    remembers(lambda _: kept)
    heard = Heard()
    given = jobs(*["other"] * others, "a")
    sending = batch(attempt, 1, heard, RetryPolicy(retries=0))
    sending.skip = skip
    await sending.run(given, Tally(len(given)))
    assert heard.events("a") == ["started", "resumed", "failed"]
    go_on = GO_ON_OF_MANY if others and not skip else GO_ON
    sentence = "Lost. The server keeps what it has for 60 seconds."
    assert str(heard.told[-1][2]) == (f"{sentence} {go_on}" if kept else sentence)
