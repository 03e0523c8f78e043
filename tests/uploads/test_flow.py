"""The credits of uploads that share a memory: the four places in which they count agree."""

import json

import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.net.budget import DataBudget
from galileod.net.frames import BinaryMessage
from galileod.policy.pacing import LEAST_CREDIT, least_credit
from galileod.policy.settings import Chunks
from galileod.protocol.errors import FaultCode, RemoteProtocolError
from galileod.protocol.messages import Finished
from galileod.protocol.receiver import AskFinished, Credit, UploadReceiver
from galileod.units import Size
from galileod.uploads.flow import Flow
from galileod.uploads.memory import MemoryAccount, MemoryPool

KIB = 1024


def chunks_of(low: int, high: int, in_flight: int = 4, memory: int = 1 << 30) -> Chunks:
    return Chunks(Size(low), Size(high), in_flight, Size(memory))


def pool_for(chunks: Chunks) -> MemoryPool:
    return MemoryPool(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))


@define(eq=False)
class Upload:
    """A flow, and all that it changes."""

    size: int
    pool: MemoryPool
    chunks: Chunks
    user: str = "somebody"
    receiver: UploadReceiver = field(factory=UploadReceiver)
    budget: DataBudget = field(factory=DataBudget)
    account: MemoryAccount = field(init=False)
    flow: Flow = field(init=False)
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.receiver.receive_text(json.dumps({"name": "a", "size": self.size}))
        self.account = MemoryAccount(self.pool, self.user)
        self.flow = Flow(self.receiver, self.budget, self.account, self.chunks)

    def grant(self, current: Chunks | None = None, reserved: int = 0) -> list[int | AskFinished]:
        granted = self.flow.grant(self.now, current or self.chunks, reserved)
        return [each.length if isinstance(each, Credit) else each for each in granted]

    def message(self, length: int) -> BinaryMessage:
        """A message that has just been delivered."""
        self.now += 0.01
        self.budget.begin(length)
        self.budget.delivered(length)
        return BinaryMessage([bytes(length)], length, self.now - 0.005, self.now)

    def send(self, length: int) -> None:
        """A chunk comes, and is stored."""
        self.flow.arrived(self.message(length))
        self.now += 0.01
        self.flow.stored(self.now)

    def places(self) -> list[object]:
        """All that is kept of the credits."""
        window = self.receiver.window
        return [
            self.receiver.state,
            window.promised,
            window.remaining,
            self.budget.promised,
            self.account.held,
            list(self.flow._pacer._granted),
        ]

    def check(self, unstored: int = 0) -> None:
        """The four places agree, and no more is promised than the file still has."""
        window = self.receiver.window
        assert self.budget.promised == self.budget.left == window.promised
        assert self.budget.largest == window.largest
        assert self.account.held == window.promised + unstored
        assert [length for length, _ in self.flow._pacer._granted] == list(window._credits)
        assert self.receiver.received + window.promised <= self.size


SETTINGS = st.builds(
    lambda low, factor, in_flight, shares: chunks_of(
        low, low * factor, in_flight, low * factor * shares
    ),
    st.integers(1, 100) | st.sampled_from([64 * KIB, 300_000]),
    st.integers(1, 30),
    st.integers(1, 20),
    st.integers(1, 40),
)
SIZES = st.lists(st.integers(0, 5000) | st.integers(0, 20_000_000), min_size=1, max_size=6)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "grant", "send", "send", "leave", "lower"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 1.0, 1.0, 1.0]) | st.floats(0, 1),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(SETTINGS, SIZES, STEPS)
def test_the_four_places_of_a_credit_always_agree(
    chunks: Chunks, sizes: list[int], steps: list[tuple[str, int, float]]
) -> None:
    pool, current = pool_for(chunks), chunks
    uploads = [Upload(size, pool, chunks, f"user {size % 2}") for size in sizes]
    for action, number, part in steps:
        upload = uploads[number % len(uploads)]
        window = upload.receiver.window
        match action:
            case "grant":
                before = window.outstanding
                granted = upload.grant(current)
                assert window.outstanding <= max(before, current.max_in_flight)
                assert all(
                    each <= chunks.max for each in granted if not isinstance(each, AskFinished)
                )
            case "send" if window.outstanding:
                length = int(part * window.limit)
                upload.flow.arrived(upload.message(length))
                upload.check(unstored=length)
                upload.flow.stored(upload.now)
            case "leave":
                with upload.flow:
                    pass
                uploads[number % len(uploads)] = Upload(upload.size, pool, chunks)
            case "lower":
                most = max(1, int(part * current.max_in_flight))
                current = chunks_of(current.min, current.max, most, current.memory)
        for each in uploads:
            each.check()
        assert pool.share.held == sum(each.account.held for each in uploads)
        assert pool.share.held == sum(pool.by_user.values())
        assert pool.share.held <= chunks.memory, "more was promised than the memory has"


@settings(max_examples=60)
@given(SETTINGS, st.integers(0, 5000) | st.integers(0, 3_000_000), st.integers(0, 1 << 32))
def test_every_file_comes_to_its_end_and_holds_nothing_then(
    chunks: Chunks, size: int, seed: int
) -> None:
    upload = Upload(size, pool_for(chunks), chunks)
    granted = upload.grant()
    sent = 0
    while upload.receiver.window.remaining:
        assert upload.receiver.window.outstanding, "an upload alone never waits"
        # Some chunks are smaller than their credit.
        credit = upload.receiver.window.limit
        length = max(credit - seed % 7, -(-credit // 2), 1)
        upload.send(length)
        upload.check()
        sent += length
        granted = upload.grant()
    assert sent == size
    assert granted == [AskFinished()]
    assert upload.grant() == []
    assert upload.account.held == upload.budget.promised == 0
    assert upload.receiver.receive_text('{"finished": true}') == Finished()


@pytest.mark.parametrize("length", [0, 5, 101])
@pytest.mark.parametrize("asked", [True, False])
def test_a_chunk_that_is_refused_changes_nothing(length: int, *, asked: bool) -> None:
    upload = Upload(1000, pool_for(chunks_of(100, 100)), chunks_of(100, 100, in_flight=1))
    if asked:
        upload.grant()
    before = upload.places()
    if asked and length <= 100:
        upload.send(length)
        upload.check()
        return
    message = BinaryMessage([bytes(length)], length, 0.0, 0.0)
    with pytest.raises(RemoteProtocolError) as refused:
        upload.flow.arrived(message)
    assert refused.value.code is FaultCode.BAD_CHUNK
    assert upload.places() == before


def test_a_chunk_holds_memory_until_it_is_stored() -> None:
    upload = Upload(300, pool_for(chunks_of(100, 100)), chunks_of(100, 100, in_flight=2))
    assert upload.grant() == [100, 100]
    upload.flow.arrived(upload.message(100))
    assert upload.account.held == 200
    upload.flow.stored(upload.now)
    assert upload.account.held == 100
    assert upload.grant() == [100]
    assert upload.account.held == 200


def test_what_short_chunks_left_over_lapses_everywhere_with_the_last_credit() -> None:
    upload = Upload(1000, pool_for(chunks_of(100, 100)), chunks_of(100, 100, in_flight=2))
    upload.grant()
    upload.send(1)
    assert upload.account.held == upload.budget.promised == 199
    upload.send(1)
    assert upload.account.held == upload.budget.promised == 0


def test_leaving_returns_the_memory_and_still_lets_come_what_was_granted() -> None:
    upload = Upload(1000, pool_for(chunks_of(100, 100)), chunks_of(100, 100, in_flight=3))
    with upload.flow:
        upload.grant()
    assert upload.account.held == upload.pool.share.held == 0
    assert upload.budget.left == 300, "a chunk on its way must not look like a violation"


def test_limits_that_were_lowered_meanwhile_apply_to_the_next_credits() -> None:
    upload = Upload(10_000, pool_for(chunks_of(100, 100)), chunks_of(100, 100, in_flight=4))
    assert upload.grant(chunks_of(100, 100, in_flight=2)) == [100, 100]
    upload.send(100)
    assert upload.grant(chunks_of(100, 100, in_flight=8)) == [100, 100, 100]


def test_credits_that_are_taken_at_once_leave_the_others_their_part_of_the_memory() -> None:
    chunks = chunks_of(100, 100, in_flight=8, memory=1000)
    upload = Upload(100_000, pool_for(chunks), chunks)
    for _ in range(10):
        for _ in upload.grant():
            upload.now += 1  # a long path, on which the pacer asks for much ahead
            upload.send(100)
    assert upload.flow._pacer.window > 300
    assert upload.grant() == [100, 100]
    assert upload.account.held == 200, "a fifth of the memory"


def test_a_credit_does_not_become_smaller_than_a_fixed_chunk_size_of_the_beginning() -> None:
    began = chunks_of(64 * KIB, 8192 * KIB, in_flight=1)
    upload = Upload(10_000_000, pool_for(began), began)
    assert upload.grant(chunks_of(1, 1000)) == [LEAST_CREDIT]


async def test_an_upload_without_a_credit_gets_its_turn_in_the_queue(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    chunks = chunks_of(100, 100, in_flight=8, memory=250)
    pool = pool_for(chunks)
    first, second, third = (Upload(1000, pool, chunks, user) for user in ("a", "b", "c"))
    assert first.grant() == second.grant() == [100]
    assert third.grant() == []
    assert third.flow.starved
    assert not first.flow.starved
    given = list[int | AskFinished]()

    async def wait() -> None:
        given.extend(third.grant(reserved=await third.flow.wait_for_share()))

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    first.flow.arrived(first.message(100))
    await wait_all_tasks_blocked()
    assert given == []
    first.flow.stored(first.now)
    assert first.grant() == [], "whoever waits comes first"
    await wait_all_tasks_blocked()
    assert given == [100]
    for each in (first, second, third):
        each.check()
    assert pool.share.held == 200


async def test_a_turn_that_gave_more_than_the_file_needs_is_returned(
    autojump_clock: MockClock,
) -> None:
    chunks = chunks_of(100, 100, memory=100)
    pool = pool_for(chunks)
    upload = Upload(30, pool, chunks)
    pool.share.take(100)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert upload.grant(reserved=await upload.flow.wait_for_share()) == [30]

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        pool.give_back(100)
    upload.check()
    assert pool.share.held == 30


@pytest.mark.parametrize("served", [True, False])
async def test_an_upload_that_ends_in_the_queue_holds_nothing(
    autojump_clock: MockClock, *, served: bool
) -> None:
    chunks = chunks_of(100, 100, memory=100)
    pool = pool_for(chunks)
    upload = Upload(1000, pool, chunks)
    pool.share.take(100)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with upload.flow:
                    await upload.flow.wait_for_share()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            if served:
                pool.give_back(100)
            scope.cancel()
    assert pool.share.held == (0 if served else 100)
    assert pool.share.waiting == 0
    assert not pool.by_user
