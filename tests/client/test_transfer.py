"""When a file is tried again, and what counts as getting on; on a clock that jumps."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from galileod.client import ConnectError, LostError, Options, Receipt, RefusedError, SendError
from galileod.client.address import Address, parse_url
from galileod.client.retry import MAX_WAIT, RETRIES, RetryPolicy
from galileod.client.sources import BytesSource, Source
from galileod.client.transfer import Transfer, Watcher
from galileod.client.upload import Attempt, Outcome
from galileod.protocol.messages import Resumption

SIZE = 1000
KEEP = 3600
OneAttempt = Callable[[int, Attempt], Awaitable[None]]
"""Plays an attempt, by its number from 0."""


class Noting(Watcher):
    """Notes the waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def retrying(self, attempt: int, wait: float, error: SendError) -> None:
        assert error.transient
        self.waits.append(wait)
        assert len(self.waits) == attempt


class Play:
    """Sends bytes by attempts that a test plays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts: list[Attempt] = []
        self.watcher = Noting()
        self._monkeypatch = monkeypatch

    async def __call__(
        self,
        one_attempt: OneAttempt,
        *,
        policy: RetryPolicy | None = None,
        only_resumed: bool = False,
    ) -> Receipt:
        async def upload(
            address: Address, source: Source, options: Options, attempt: Attempt
        ) -> Outcome:
            number = len(self.attempts)
            self.attempts.append(attempt)
            await one_attempt(number, attempt)
            return Outcome(None, resumable=True, chunks=1, warnings=())

        self._monkeypatch.setattr("galileod.client.transfer.upload", upload)
        source = BytesSource(memoryview(bytes(SIZE)), "a")
        transfer = Transfer(
            parse_url("ws://h/"), source, Options(), policy or RetryPolicy(), self.watcher,
            only_resumed=only_resumed,
        )  # fmt: skip
        return await transfer.run()


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(monkeypatch)


async def agree(attempt: Attempt, offset: int) -> None:
    await attempt.on_agreed(Resumption(offset, KEEP))


async def test_waits_begin_anew_when_the_server_has_more_than_before(
    autojump_clock: MockClock, play: Play
) -> None:
    offsets = [0, 0, 0, 10, 10, 10, 20]

    async def attempt(number: int, one: Attempt) -> None:
        await agree(one, offsets[number])
        if number < len(offsets) - 1:
            raise LostError("Lost.")

    await play(attempt, policy=RetryPolicy(delay=8))
    longest = [8, 16, 30, 8, 16, 30]
    assert all(
        most / 2 <= wait <= most for wait, most in zip(play.watcher.waits, longest, strict=True)
    )


async def test_a_server_that_loses_what_it_had_is_no_progress(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        await agree(one, (500, 0, 400)[number % 3])
        raise LostError("Lost.")

    with pytest.raises(LostError):
        await play(attempt)
    assert len(play.attempts) == 1 + RETRIES


async def test_what_is_hashed_of_an_earlier_run_is_progress(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        await agree(one, SIZE)
        one.hash.update(one.hash.position, bytes(min(50, SIZE - one.hash.position)))
        if number < SIZE // 50:
            raise LostError("The server has waited long enough for `finished`.")

    await play(attempt)


@pytest.mark.parametrize("only_resumed", [True, False])
async def test_before_the_server_has_agreed_only_the_command_tries_again(
    autojump_clock: MockClock, play: Play, only_resumed: bool
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        raise ConnectError("Nobody listens.")

    with pytest.raises(ConnectError) as failed:
        await play(attempt, only_resumed=only_resumed)
    assert len(play.attempts) == (1 if only_resumed else 1 + RETRIES)
    assert failed.value.kept is None


async def test_once_it_has_agreed_a_server_that_is_away_is_waited_for(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        if number == 0:
            await agree(one, 0)
            one.on_sent(100)
        raise ConnectError("Nobody listens.")

    with pytest.raises(ConnectError, match="The server keeps what it has for 60 minutes") as failed:
        await play(attempt, only_resumed=True)
    assert len(play.attempts) == 1 + RETRIES
    assert failed.value.kept == KEEP
    assert max(play.watcher.waits) <= MAX_WAIT
    assert trio.current_time() > 30
    assert len({one.key for one in play.attempts}) == 1


async def test_one_that_never_accepted_a_connection_is_given_up_after_five_seconds(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        await trio.sleep(0.1)
        raise ConnectError("Nobody listens.", unreached=True)

    began = trio.current_time()
    with pytest.raises(ConnectError):
        await play(attempt)
    assert 5 <= trio.current_time() - began < 5.2


async def test_one_that_was_reached_and_is_away_is_waited_for(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        if number == 0:
            raise LostError("Lost.")
        raise ConnectError("Nobody listens.", unreached=True)

    with pytest.raises(ConnectError):
        await play(attempt)
    assert len(play.attempts) == 1 + RETRIES


@pytest.mark.parametrize("code", ["taken_over", "hash_mismatch", "conflict", "abandoned", None])
async def test_no_other_fault_is_tried_again(play: Play, code: str | None) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        await agree(one, 100)
        raise RefusedError({"error": "No.", "code": code}, resumable=True)

    with pytest.raises(RefusedError):
        await play(attempt)
    assert len(play.attempts) == 1


@pytest.mark.parametrize("code", ["idle", "too_slow", "storage_failed"])
async def test_faults_of_the_line_are_final_if_the_upload_cannot_be_resumed(
    autojump_clock: MockClock, play: Play, code: str
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        raise RefusedError({"error": "No.", "code": code})

    with pytest.raises(RefusedError):
        await play(attempt)
    assert len(play.attempts) == 1


async def test_the_key_is_not_in_the_representation_of_an_attempt(
    autojump_clock: MockClock, play: Play
) -> None:
    async def attempt(number: int, one: Attempt) -> None:
        await agree(one, 0)

    await play(attempt)
    (one,) = play.attempts
    assert one.key
    assert len(one.key) == 32
    assert one.key not in repr(one)
