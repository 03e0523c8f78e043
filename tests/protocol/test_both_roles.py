"""The two roles against each other, and the receiver against anybody."""

from collections import deque
from random import Random

from helpers.facts import receiver_facts
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.protocol.errors import Fault, FaultCode, RemoteProtocolError
from galileod.protocol.messages import Finished, Ignored, Metadata
from galileod.protocol.receiver import Chunk, UploadReceiver
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import ReceiverState, SenderState

SEEDS = st.integers(0, 2**32)


class Upload:
    """A sender, a receiver, and the messages that are between them."""

    def __init__(self, size: int, chunks: list[int], in_flight: int, random: Random) -> None:
        self.sender = UploadSender(Metadata("a.txt", size))
        self.receiver = UploadReceiver()
        self.chunks = chunks
        self.in_flight = in_flight
        self.random = random
        self.stored = 0
        self.to_server: deque[str | int] = deque([self.sender.start()])
        self.to_client: deque[str] = deque()

    def run(self) -> None:
        """One party moves at a time, in any order, until none can."""
        moves = [self.server_grants, self.server_reads, self.client_reads, self.client_sends]
        while True:
            self.random.shuffle(moves)
            if not any(move() for move in moves):
                return

    def server_grants(self) -> bool:
        granted = self.receiver.grant(self.random.choice(self.chunks), self.in_flight)
        if granted is None:
            return False
        self.to_client.append(self.receiver.ready(granted))
        return True

    def server_reads(self) -> bool:
        if not self.to_server:
            return False
        message = self.to_server.popleft()
        if isinstance(message, int):
            self.stored += self.receiver.receive_binary(message).length
        elif isinstance(self.receiver.receive_text(message), Finished):
            self.to_client.append(self.receiver.close())
        return True

    def client_reads(self) -> bool:
        if not self.to_client:
            return False
        self.sender.receive_text(self.to_client.popleft())
        return True

    def client_sends(self) -> bool:
        match self.sender.next_due():
            case ChunkDue(length=length):
                part = self.random.choice((length, length, self.random.randint(1, length)))
                self.sender.chunk_sent(part)
                self.to_server.append(part)
                data = sum(length for length in self.to_server if isinstance(length, int))
                assert data <= self.receiver.window.promised
                return True
            case FinishedDue():
                self.to_server.append(self.sender.finish())
                return True
        return False


@settings(max_examples=80)
@given(
    size=st.integers(0, 50) | st.integers(0, 2_000_000),
    hundredths=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    in_flight=st.integers(1, 20),
    seed=SEEDS,
)
def test_any_upload_between_the_two_roles_ends_stored(
    size: int, hundredths: list[int], in_flight: int, seed: int
) -> None:
    chunks = [max(1, size * part // 100) for part in hundredths]
    upload = Upload(size, chunks, in_flight, Random(seed))
    upload.run()
    assert upload.sender.state is SenderState.STORED
    assert upload.receiver.state is ReceiverState.CLOSED
    assert upload.sender.sent == upload.receiver.received == upload.stored == size
    assert not upload.to_server
    assert not upload.to_client


TEXTS = st.one_of(
    st.sampled_from(
        [
            '{"name": "a", "size": 0}',
            '{"name": "a", "size": 9}',
            '{"name": "a", "size": 100}',
            '{"name": 1, "size": 9}',
            '{"finished": true}',
            '{"finished": 1, "hash": {"type": "sha1", "value": "ab"}}',
            '{"finished": true, "hash": 1}',
            "{}",
            "[]",
        ]
    ),
    st.text(max_size=5),
)
LENGTHS = st.sampled_from([0, 1, 9, 10, 100]) | st.integers(0, 200)


def put(receiver: UploadReceiver, message: str | int) -> None:
    """An error leaves all as it was; anything else is one of the four outputs."""
    before = receiver_facts(receiver)
    try:
        if isinstance(message, str):
            text_output = receiver.receive_text(message)
            assert isinstance(text_output, Metadata | Finished | Ignored)
        else:
            assert receiver.receive_binary(message) == Chunk(message)
    except RemoteProtocolError:
        assert receiver_facts(receiver) == before


@settings(max_examples=60)
@given(
    st.lists(TEXTS | LENGTHS, max_size=25),
    st.lists(st.integers(0, 3), min_size=25, max_size=25),
    st.integers(1, 50),
    st.integers(1, 4),
)
def test_any_messages_into_a_receiver_give_outputs_or_remote_errors(
    messages: list[str | int], asked: list[int], chunk: int, in_flight: int
) -> None:
    receiver = UploadReceiver()
    for message, times in zip(messages, asked, strict=False):
        put(receiver, message)
        for _ in range(times):
            receiver.grant(chunk, in_flight)
        size = receiver.metadata.size if receiver.metadata else 0
        assert 0 <= receiver.received <= size
        assert receiver.received + receiver.window.promised <= size


@given(st.lists(TEXTS | LENGTHS, max_size=10))
def test_a_failed_receiver_lets_only_unknown_signals_pass(messages: list[str | int]) -> None:
    receiver = UploadReceiver()
    receiver.fail(Fault(FaultCode.INTERNAL, "x"))
    before = receiver_facts(receiver)
    for message in messages:
        put(receiver, message)
        assert receiver.grant(10, 10) is None
        assert receiver_facts(receiver) == before
