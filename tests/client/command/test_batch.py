"""Several uploads side by side, on a clock that jumps."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from galileod.client import (
    ConnectError,
    LostError,
    Options,
    Progress,
    Receipt,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from galileod.client.address import Address, parse_url
from galileod.client.command.batch import GO_ON, Batch, Kept, SendJob, Tally
from galileod.client.command.jobs import Job
from galileod.client.options import OnWarning
from galileod.client.retry import RetryPolicy
from galileod.client.sources import BytesSource, Source
from galileod.client.transfer import Transfer, Watcher
from galileod.client.upload import Attempt, Outcome

OneAttempt = Callable[[str, Attempt, Options], Awaitable[None]]
"""Sends the job of this name, once."""

Sending = Callable[..., SendJob]


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Sending:
    """Makes of attempts what a batch does with a job."""

    def make(one_attempt: OneAttempt, policy: RetryPolicy | None = None) -> SendJob:
        async def upload(
            address: Address, source: Source, options: Options, attempt: Attempt
        ) -> Outcome:
            await one_attempt(source.name, attempt, options)
            return Outcome(None, resumable=False, chunks=1, warnings=())

        monkeypatch.setattr("galileod.client.transfer.upload", upload)

        async def send(job: Job, watcher: Watcher, on_warning: OnWarning) -> Receipt:
            source = BytesSource(memoryview(bytes(10)), job.name)
            options = Options(on_warning=on_warning)
            address = parse_url("ws://h/")
            return await Transfer(address, source, options, policy or RetryPolicy(), watcher).run()

        return send

    return make


async def nothing() -> bytes:
    return b""


class Heard:
    """What a reporter is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, event: str) -> Callable[..., None]:
        return lambda job, *rest: self.told.append((event, job.name, *rest))

    def events(self, name: str) -> list[object]:
        return [told[0] for told in self.told if told[1] == name]


def jobs(*names: str) -> list[Job]:
    return [Job(name, nothing, name, 10) for name in names]


async def test_failures_of_the_transport_are_tried_again_and_others_are_not(
    autojump_clock: MockClock,
    sending: Sending,
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
    await Batch(sending(attempt, policy), parallel=2, reporter=heard).run(jobs(*left), tally)
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
    autojump_clock: MockClock, sending: Sending, parallel: int
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
    await Batch(sending(attempt), parallel, Heard()).run(jobs(*names), tally)
    assert most == min(parallel, 10)
    assert sorted(begun) == names
    assert tally.stored == 10


async def test_the_tally_is_right_when_it_is_broken_off(
    autojump_clock: MockClock, sending: Sending
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        await trio.sleep(int(name))

    tally = Tally(3)
    with trio.move_on_after(15):
        await Batch(sending(attempt), 1, Heard()).run(jobs("5", "5", "10"), tally)
    assert (tally.stored, tally.failed, tally.left) == (2, 0, 1)


async def test_a_file_that_cannot_be_had_is_not_begun(autojump_clock: MockClock) -> None:
    async def send(job: Job, watcher: Watcher, on_warning: OnWarning) -> Receipt:
        raise SourceError("a is a folder.")

    heard = Heard()
    await Batch(send, 1, heard).run(jobs("a"), Tally(1))
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
    autojump_clock: MockClock, sending: Sending, parallel: int, error: SendError, attempts: int
) -> None:
    tried: list[str] = []

    async def attempt(name: str, one: Attempt, options: Options) -> None:
        tried.append(name)
        raise error

    names = [str(number) for number in range(20)]
    heard, tally = Heard(), Tally(20)
    await Batch(sending(attempt), parallel, heard).run(jobs(*names), tally)
    assert tally.failed == 20
    assert len(tried) <= attempts * parallel
    ends = [told[0] for told in heard.told if told[0] in ("failed", "dropped")]
    assert sorted(ends) == ["dropped"] * 19 + ["failed"]


@pytest.mark.parametrize("error", [UpgradeError("HTTP 503.", 503), RefusedError({"error": "No."})])
async def test_a_server_that_is_there_is_asked_for_each_file(
    autojump_clock: MockClock, sending: Sending, error: SendError
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        raise error

    heard, tally = Heard(), Tally(3)
    await Batch(sending(attempt, RetryPolicy(retries=1)), 1, heard).run(jobs("a", "b", "c"), tally)
    ends = [told[0] for told in heard.told if told[0] not in ("started", "retrying")]
    assert ends == ["failed"] * 3


async def test_one_that_is_being_sent_shows_that_there_is_a_server(
    autojump_clock: MockClock,
    sending: Sending,
) -> None:
    async def attempt(name: str, one: Attempt, options: Options) -> None:
        if name != "good":
            raise ConnectError("There is no way.")
        for sent in range(100):
            one.on_sent(sent)
            await trio.sleep(1)

    heard = Heard()
    batch = Batch(sending(attempt, RetryPolicy(retries=1, delay=5)), 2, heard)
    await batch.run(jobs("good", "a", "b"), Tally(3))
    assert not [told for told in heard.told if told[0] == "dropped"]


async def test_what_is_kept_of_the_interrupted_is_told(autojump_clock: MockClock) -> None:
    async def send(job: Job, watcher: Watcher, on_warning: OnWarning) -> Receipt:
        keep = {"kept": 3600, "small": 3600}.get(job.name, 0)
        watcher.started(1)
        watcher.resumable(0, 10, keep)
        if job.name != "small":
            watcher.moved(Progress(4, 10, 1.0))
        await trio.sleep_forever()
        raise AssertionError

    batch = Batch(send, 3, Heard())
    with trio.move_on_after(1):
        await batch.run(jobs("kept", "small", "unkept"), Tally(3))
    assert batch.kept == [Kept(4, 10, 3600)]


@pytest.mark.parametrize("keep", [0, 60])
async def test_how_to_go_on_after_a_failure_is_told_if_one_can(keep: int) -> None:
    async def send(job: Job, watcher: Watcher, on_warning: OnWarning) -> Receipt:
        watcher.resumable(4, 10, keep)
        error = LostError("Lost.")
        error.kept = 60
        raise error

    heard = Heard()
    await Batch(send, 1, heard).run(jobs("a"), Tally(1))
    assert heard.events("a") == ["resumed", "failed"]
    assert str(heard.told[-1][2]) == ("Lost." if keep == 0 else f"Lost. {GO_ON}")
