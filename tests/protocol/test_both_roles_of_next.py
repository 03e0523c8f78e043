"""The two roles on one connection with many files: any sizes, refusals, and cuts."""

from collections import deque
from random import Random

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.files_sender import FilesSender
from galileod.protocol.messages import (
    Abandon,
    Close,
    Error,
    Finished,
    Limits,
    Metadata,
    Resumption,
)
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import ReceiverState, SenderState

CAN = frozenset({"next", "resume"})
ENDED = (ReceiverState.VERIFYING, ReceiverState.CLOSED, ReceiverState.FAILED)
KEY = "0123456789abcdef" * 2


@define(eq=False)
class Plan:
    """What becomes of a file: it is refused behind so many bytes, abandoned, or stored."""

    size: int
    refused_at: int | None = None
    abandoned: bool = False
    offset: int = 0


class Server:
    """Receivers of one connection; answers to finished files come in any order."""

    def __init__(self, plans: list[Plan], limits: Limits, random: Random) -> None:
        self.plans = plans
        self.random = random
        self.receiver = UploadReceiver(CAN)
        self.receiver.offer(limits)
        self.limits = limits
        self.finished: list[UploadReceiver] = []  # without an answer
        self.stored: dict[int, int] = {}
        self.refused: set[int] = set()
        self.out: deque[str] = deque()

    def take(self, message: str | int) -> None:
        if self.receiver.state in ENDED:
            # What still comes for a file that was refused is for the next receiver to drop.
            self.receiver = self.receiver.next()
        if isinstance(message, int):
            self.receiver.receive_binary(message)
            self.refuse_maybe()
            return
        match self.receiver.receive_text(message):
            case Metadata():
                plan = self.plans[self.receiver.number]
                if not self.receiver.whole:
                    self.receiver.resume(Resumption(plan.offset, 60))
                self.check_limits()
                self.refuse_maybe()
            case Finished():
                self.finished.append(self.receiver)
            case Abandon():
                fault = Fault(FaultCode.ABANDONED, "It is abandoned.")
                self.out.append(self.receiver.fail(fault, continues=True))
                self.refused.add(self.receiver.number)

    def check_limits(self) -> None:
        further = [one for one in [*self.finished, self.receiver] if one.number]
        whole = [one.metadata.size for one in further if one.whole and one.metadata]
        assert len(further) <= self.limits.next
        assert sum(whole) <= self.limits.room

    def refuse_maybe(self) -> None:
        if self.receiver.metadata is None:
            return  # what came was dropped
        refused_at = self.plans[self.receiver.number].refused_at
        if refused_at is not None and self.receiver.received >= refused_at:
            fault = Fault(FaultCode.CONFLICT, "The name is taken.")
            self.out.append(self.receiver.fail(fault, continues=True))
            self.refused.add(self.receiver.number)

    def move(self) -> bool:
        """Grant, or answer one that is finished; return whether there was something."""
        steps = [self.grant, self.answer]
        self.random.shuffle(steps)
        return any(step() for step in steps)

    def grant(self) -> bool:
        if self.receiver.metadata is None:
            return False
        granted = self.receiver.grant(self.random.randint(1, 400), self.random.randint(1, 4))
        if granted is None:
            return False
        self.out.append(self.receiver.ready(granted))
        return True

    def answer(self) -> bool:
        if not self.finished:
            return False
        one = self.finished.pop(self.random.randrange(len(self.finished)))
        self.out.append(one.close())
        assert one.metadata
        self.stored[one.number] = one.metadata.size
        return True


class Connection:
    """The client, the server, and the messages between them."""

    def __init__(self, plans: list[Plan], limits: Limits, random: Random) -> None:
        self.plans = plans
        self.random = random
        self.server = Server(plans, limits, random)
        first = UploadSender(Metadata("0", plans[0].size, can=CAN, upload=KEY))
        self.current: UploadSender | None = first
        self.core = FilesSender(first)
        self.to_server: deque[str | int] = deque([first.start()])
        self.begun = 1
        self.answers: dict[int, bool] = {}

    def run(self, steps: int) -> None:
        """One party moves at a time, in any order, until none can, or for so many steps."""
        moves = [self.server.move, self.server_reads, self.client_reads, self.client_moves]
        for _ in range(steps):
            self.random.shuffle(moves)
            if not any(move() for move in moves):
                return

    def server_reads(self) -> bool:
        if not self.to_server:
            return False
        self.server.take(self.to_server.popleft())
        return True

    def client_reads(self) -> bool:
        if not self.server.out:
            return False
        signal = self.core.receive_text(self.server.out.popleft())
        if isinstance(signal, Close) or (isinstance(signal, Error) and signal.fatal):
            assert isinstance(signal, Close | Error)
            assert signal.file not in self.answers
            self.answers[signal.file] = isinstance(signal, Close)
        return True

    def client_moves(self) -> bool:
        due = self.current.next_due() if self.current else None
        match due:
            case ChunkDue(length=length) if self.current:
                if self.plans[self.current.number].abandoned and self.current.number:
                    self.to_server.append(self.current.abandon())
                    return True
                whole = self.core.is_whole(self.plans[self.current.number].size)
                part = length
                if not (self.current.number and whole):
                    part = self.random.choice((length, self.random.randint(1, length)))
                self.current.chunk_sent(part)
                self.to_server.append(part)
                return True
            case FinishedDue() if self.current:
                self.to_server.append(self.current.finish())
                return True
        return self.begin()

    def begin(self) -> bool:
        if self.begun == len(self.plans):
            return False
        size = self.plans[self.begun].size
        if not self.core.fits(size):
            return False
        metadata = Metadata(str(self.begun), size, upload=KEY)
        if self.core.is_whole(size) and self.random.random() < 0.5:
            number, begin, end = self.core.send_whole(metadata, None)
            assert number == self.begun
            self.to_server += [begin, size, end] if size else [begin, end]
            self.current = None
        else:
            self.current = self.core.begin(metadata)
            assert self.current.number == self.begun
            self.to_server.append(self.current.start())
        self.begun += 1
        return True


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    made = []
    for number in range(draw(st.integers(1, 12))):
        size = draw(st.sampled_from([0, 1, 99, 100, 101, 1000]) | st.integers(0, 3000))
        plan = Plan(size)
        fate = draw(st.sampled_from(["stored", "stored", "refused", "abandoned", "resumed"]))
        if fate == "refused":
            plan.refused_at = draw(st.integers(0, size))
        elif fate == "abandoned":
            plan.abandoned = size > 0
        elif fate == "resumed" and not (number and size <= LIMITS_WHOLE):
            plan.offset = draw(st.integers(0, size))
        made.append(plan)
    return made


LIMITS_WHOLE = 500
LIMITS = st.builds(
    Limits, st.integers(1, 5), st.just(LIMITS_WHOLE), st.integers(LIMITS_WHOLE, 1500)
)


@settings(max_examples=300, deadline=None)
@given(plans=plans(), limits=LIMITS, seed=st.integers(0, 2**32))
def test_each_file_of_a_connection_gets_the_answer_that_is_its_own(
    plans: list[Plan], limits: Limits, seed: int
) -> None:
    connection = Connection(plans, limits, Random(seed))
    connection.run(100_000)
    assert connection.begun == len(plans)
    assert set(connection.answers) == set(range(len(plans)))
    for number, plan in enumerate(plans):
        stored = connection.answers[number]
        assert stored == (connection.server.stored.get(number) == plan.size)
        assert stored != (number in connection.server.refused)
        if plan.refused_at is None and not plan.abandoned:
            assert stored
    assert connection.core.room == limits.room
    assert connection.core.places == limits.next
    assert not connection.to_server


@settings(max_examples=200, deadline=None)
@given(plans=plans(), limits=LIMITS, seed=st.integers(0, 2**32), steps=st.integers(1, 120))
def test_what_has_no_answer_when_the_connection_is_cut_is_what_was_open(
    plans: list[Plan], limits: Limits, seed: int, steps: int
) -> None:
    connection = Connection(plans, limits, Random(seed))
    connection.run(steps)
    unanswered = set(range(connection.begun)) - set(connection.answers)
    assert connection.core.open == unanswered
    for number, stored in connection.answers.items():
        assert stored == (number in connection.server.stored)
    if connection.current and connection.current.state is SenderState.STORED:
        assert connection.current.number in connection.server.stored
