"""Several uploads side by side, on a clock that jumps."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from galileod.client import (
    ConnectError,
    LostError,
    Progress,
    Receipt,
    RefusedError,
    SendError,
    SourceError,
    UpgradeError,
)
from galileod.client.command.batch import Batch, OnStart, Tally
from galileod.client.command.jobs import Job
from galileod.client.command.retry import RetryPolicy
from galileod.client.options import OnProgress, OnWarning

RECEIPT = Receipt("a", "a", 10, {}, 1.0, 1, verified=False)


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


def jobs(*names: str, again: bool = True) -> list[Job]:
    return [Job(name, nothing, name, 10, repeatable=lambda: again) for name in names]


async def test_failures_of_the_transport_are_tried_again_and_others_are_not(
    autojump_clock: MockClock,
) -> None:
    left: dict[str, list[SendError]] = {
        "good": [],
        "weak": [LostError("a"), LostError("b")],
        "lost": [LostError("x")] * 9,
        "refused": [RefusedError({"error": "x"})] * 9,
    }

    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        on_start()
        await trio.sleep(1)
        on_progress(Progress(5, 10, 1.0))
        on_warning({"error": "careful"})
        if left[job.name]:
            raise left[job.name].pop()
        return RECEIPT

    heard, tally = Heard(), Tally(4)
    policy = RetryPolicy(retries=2, delay=10)
    await Batch(send, policy, parallel=2, reporter=heard).run(jobs(*left), tally)
    assert (tally.stored, tally.failed, tally.left, tally.size) == (2, 2, 0, 20)
    attempt = ["started", "moved", "warned"]
    assert heard.events("good") == [*attempt, "stored"]
    assert heard.events("weak") == [*attempt, "retrying", *attempt, "retrying", *attempt, "stored"]
    assert heard.events("lost")[-1] == "failed"
    assert len(left["lost"]) == 9 - 3
    assert heard.events("refused") == [*attempt, "failed"]
    assert trio.current_time() < 2 * 10 + 2 * 20 + 10
    first, second = (told[3] for told in heard.told if told[:2] == ("retrying", "weak"))
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert 5 <= first <= 10 <= second <= 20


async def test_what_can_be_read_once_is_tried_once(autojump_clock: MockClock) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        on_start()
        raise LostError(job.name)

    heard, tally = Heard(), Tally(1)
    await Batch(send, RetryPolicy(), 3, heard).run(jobs("a", again=False), tally)
    assert heard.events("a") == ["started", "failed"]
    assert tally.failed == 1


@pytest.mark.parametrize("parallel", [1, 3, 100])
async def test_as_many_run_at_once_as_asked_and_in_their_order(
    autojump_clock: MockClock, parallel: int
) -> None:
    running, most, begun = 0, 0, list[str]()

    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        nonlocal running, most
        begun.append(job.name)
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return RECEIPT

    names = [str(number) for number in range(10)]
    tally = Tally(10)
    await Batch(send, RetryPolicy(), parallel, Heard()).run(jobs(*names), tally)
    assert most == min(parallel, 10)
    assert sorted(begun) == names
    assert tally.stored == 10


async def test_the_tally_is_right_when_it_is_broken_off(autojump_clock: MockClock) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        await trio.sleep(int(job.name))
        return RECEIPT

    tally = Tally(3)
    with trio.move_on_after(15):
        await Batch(send, RetryPolicy(), 1, Heard()).run(jobs("5", "5", "10"), tally)
    assert (tally.stored, tally.failed, tally.left) == (2, 0, 1)


async def test_a_file_that_cannot_be_had_is_not_begun(autojump_clock: MockClock) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        raise SourceError("a is a folder.")

    heard = Heard()
    await Batch(send, RetryPolicy(), 1, heard).run(jobs("a"), Tally(1))
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
    autojump_clock: MockClock, parallel: int, error: SendError, attempts: int
) -> None:
    tried: list[str] = []

    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        on_start()
        tried.append(job.name)
        raise error

    names = [str(number) for number in range(20)]
    heard, tally = Heard(), Tally(20)
    await Batch(send, RetryPolicy(), parallel, heard).run(jobs(*names), tally)
    assert tally.failed == 20
    assert len(tried) <= attempts * parallel
    ends = [told[0] for told in heard.told if told[0] in ("failed", "dropped")]
    assert sorted(ends) == ["dropped"] * 19 + ["failed"]


@pytest.mark.parametrize("error", [UpgradeError("HTTP 503.", 503), RefusedError({"error": "No."})])
async def test_a_server_that_is_there_is_asked_for_each_file(
    autojump_clock: MockClock, error: SendError
) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        raise error

    heard, tally = Heard(), Tally(3)
    await Batch(send, RetryPolicy(retries=1), 1, heard).run(jobs("a", "b", "c"), tally)
    assert [told[0] for told in heard.told if told[0] != "retrying"] == ["failed"] * 3


async def test_one_that_is_being_sent_shows_that_there_is_a_server(
    autojump_clock: MockClock,
) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        if job.name != "good":
            raise ConnectError("There is no way.")
        for sent in range(100):
            on_progress(Progress(sent, 100, 1.0))
            await trio.sleep(1)
        return RECEIPT

    heard = Heard()
    batch = Batch(send, RetryPolicy(retries=1, delay=5), 2, heard)
    await batch.run(jobs("good", "a", "b"), Tally(3))
    assert not [told for told in heard.told if told[0] == "dropped"]


async def test_why_it_is_not_tried_again_is_told(autojump_clock: MockClock) -> None:
    async def send(
        job: Job, on_start: OnStart, on_progress: OnProgress, on_warning: OnWarning
    ) -> Receipt:
        raise LostError("Lost.")

    heard = Heard()
    await Batch(send, RetryPolicy(), 1, heard).run(jobs("a", again=False), Tally(1))
    assert str(heard.told[0][2]) == ("Lost. There is no retry: the input cannot be read again.")
