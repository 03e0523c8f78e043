"""The extension `resume`: uploads that outlive connections, daemons and clients."""

import json
from collections import deque
from random import Random
from typing import Any

import pytest
from attrs import define, evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.protocol.decoding import decode_client, decode_server
from galileod.protocol.encoding import encode_metadata
from galileod.protocol.errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from galileod.protocol.messages import (
    MAX_SIZE,
    RESUME,
    Abandon,
    Agreement,
    Close,
    Error,
    Finished,
    HashClaim,
    Ignored,
    Metadata,
    Ready,
    Resumption,
)
from galileod.protocol.receiver import AskFinished, Credit, UploadReceiver
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import ReceiverState, SenderState

KEY = "9f2c" * 8
CAN = frozenset({RESUME})
NAMED = Metadata("big.iso", 10, can=CAN, upload=KEY)


def receiver_of(metadata: Metadata, *, offset: int | None = None) -> UploadReceiver:
    receiver = UploadReceiver(CAN)
    receiver.receive_text(encode_metadata(metadata))
    if offset is not None:
        receiver.resume(Resumption(offset, 60))
    return receiver


def started(metadata: Metadata = NAMED) -> UploadSender:
    sender = UploadSender(metadata)
    sender.start()
    return sender


def ready(**keys: object) -> str:
    return json.dumps({"ready": True, **keys})


def sent(receiver: UploadReceiver, granted: Credit | AskFinished | None) -> dict[str, Any]:
    assert granted is not None
    signal: dict[str, Any] = json.loads(receiver.ready(granted))
    return signal


# The two roles against each other, through every kind of loss


@define
class Disk:
    """What a server has on its disk for one key."""

    data: bytes = b""
    durable: int = 0
    stored: int = 0


@define
class Link:
    """One connection: its two ends, and the messages that are between them."""

    sender: UploadSender
    receiver: UploadReceiver
    to_server: deque[str | bytes]
    to_client: deque[str]


class Resumed:
    """An upload over as many connections as it takes. Each party moves at random."""

    def __init__(self, data: bytes, chunks: list[int], random: Random) -> None:
        self.data = data
        self.chunks = chunks
        self.random = random
        self.disk = Disk()
        self.metadata = Metadata("a", len(data), can=CAN, upload=KEY)
        self.link = self.connect()

    def connect(self) -> Link:
        sender = UploadSender(self.metadata)
        return Link(sender, UploadReceiver(CAN), deque([sender.start()]), deque())

    def run(self, losses: list[str]) -> None:
        due = deque(losses)
        while self.link.sender.state is not SenderState.STORED:
            moves = [self.server_grants, self.server_reads, self.client_reads, self.client_sends]
            self.random.shuffle(moves)
            if due and self.random.random() < 0.2:
                self.lose(due.popleft())
            elif not any(move() for move in moves):
                raise AssertionError("neither can move")

    def lose(self, what: str) -> None:
        """The connection ends, in the middle of a chunk or not; what it carried is lost."""
        receiver, first = self.link.receiver, next(iter(self.link.to_server), None)
        if isinstance(first, bytes) and receiver.state is ReceiverState.RECEIVING:
            self.disk.data += first[: self.random.randint(0, len(first))]
        if self.disk.stored:
            pass  # durable, as `close` promises
        elif what == "power cut":
            self.disk.data = self.disk.data[: self.disk.durable]
        else:
            self.disk.durable = self.random.randint(self.disk.durable, len(self.disk.data))
        self.link = self.connect()

    def server_grants(self) -> bool:
        link = self.link
        granted = link.receiver.grant(self.random.choice(self.chunks), self.random.randint(1, 4))
        if granted is None:
            return False
        link.to_client.append(link.receiver.ready(granted))
        return True

    def server_reads(self) -> bool:
        link = self.link
        if not link.to_server:
            return False
        message = link.to_server.popleft()
        if isinstance(message, bytes):
            link.receiver.receive_binary(len(message))
            self.disk.data += message
            return True
        match link.receiver.receive_text(message):
            case Metadata():
                if self.disk.stored:
                    link.to_client.append(link.receiver.close_stored())
                else:
                    link.receiver.resume(Resumption(len(self.disk.data), 60))
            case Finished():
                assert self.disk.data == self.data
                self.disk.stored += 1
                if self.random.random() < 0.5:  # otherwise the daemon dies before it answers
                    link.to_client.append(link.receiver.close())
                else:
                    self.link = self.connect()
        return True

    def client_reads(self) -> bool:
        if not self.link.to_client:
            return False
        self.link.sender.receive_text(self.link.to_client.popleft())
        return True

    def client_sends(self) -> bool:
        sender = self.link.sender
        match sender.next_due():
            case ChunkDue(offset=offset, length=length):
                part = self.random.choice((length, self.random.randint(1, length)))
                sender.chunk_sent(part)
                self.link.to_server.append(self.data[offset : offset + part])
                return True
            case FinishedDue():
                self.link.to_server.append(sender.finish())
                return True
        return False


@settings(max_examples=300)
@given(
    size=st.integers(0, 30) | st.integers(0, 3000),
    hundredths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    losses=st.lists(st.sampled_from(["cut", "power cut"]), max_size=12),
    seed=st.integers(0, 2**32),
)
def test_an_upload_arrives_whole_exactly_once_over_any_losses(
    size: int, hundredths: list[int], losses: list[str], seed: int
) -> None:
    random = Random(seed)
    chunks = [max(1, size * part // 100) for part in hundredths]
    upload = Resumed(random.randbytes(size), chunks, random)
    upload.run(losses)
    assert upload.disk.data == upload.data
    assert upload.disk.stored == 1
    assert upload.link.receiver.state is ReceiverState.CLOSED


# Agreement


def test_the_first_ready_tells_the_agreement_and_the_next_does_not() -> None:
    receiver = receiver_of(NAMED, offset=0)
    assert sent(receiver, receiver.grant(4, 2)) == {
        "ready": True, "chunksize": 4, "can": ["resume"], "offset": 0, "keep": 60,
    }  # fmt: skip
    assert sent(receiver, receiver.grant(4, 2)) == {"ready": True, "chunksize": 4}


def test_the_hash_of_what_is_there_is_told_where_it_is_known() -> None:
    receiver = receiver_of(NAMED)
    receiver.resume(Resumption(4, 60, HashClaim("sha1", "ab")))
    signal = sent(receiver, receiver.grant(4, 1))
    assert signal["check"] == {"type": "sha1", "value": "ab"}
    sender = started()
    sender.receive_text(json.dumps(signal))
    assert sender.agreement == Agreement(CAN, Resumption(4, 60, HashClaim("sha1", "ab")))


@pytest.mark.parametrize(
    "metadata",
    [Metadata("a", 3), Metadata("a", 3, upload=KEY), Metadata("a", 3, folder="b", modified=5)],
    ids=str,
)
def test_a_client_that_offers_nothing_hears_nothing_of_extensions(metadata: Metadata) -> None:
    receiver = receiver_of(metadata)
    assert not receiver.resumable
    granted = receiver.grant(3, 1)
    assert granted
    assert receiver.ready(granted) == '{"ready": true, "chunksize": 3}'
    assert receiver.receive_text('{"abandon": true}') == Ignored()
    with pytest.raises(LocalProtocolError):
        receiver.resume(Resumption(0, 60))
    with pytest.raises(LocalProtocolError):
        receiver.close_stored()
    failed = receiver.fail(Fault(FaultCode.BUSY, "Later."), kept=60)
    assert json.loads(failed) == {"error": "Later.", "fatal": True, "code": "busy"}


@pytest.mark.parametrize(
    ("metadata", "can"),
    [
        (Metadata("a", 3, can=frozenset({"next"})), CAN),
        (Metadata("a", 3, can=CAN), CAN),  # without a key there is nothing to resume by
        (NAMED, frozenset({"next"})),
        (Metadata("a", 3, can=frozenset()), CAN),
    ],
    ids=str,
)
def test_a_client_with_nothing_in_common_hears_that(
    metadata: Metadata, can: frozenset[str]
) -> None:
    receiver = UploadReceiver(can)
    receiver.receive_text(encode_metadata(metadata))
    assert not receiver.resumable
    assert sent(receiver, receiver.grant(3, 1)) == {"ready": True, "chunksize": 3, "can": []}


def test_a_server_without_extensions_says_nothing_of_them() -> None:
    receiver = UploadReceiver()
    receiver.receive_text(encode_metadata(NAMED))
    assert sent(receiver, receiver.grant(3, 1)) == {"ready": True, "chunksize": 3}


def test_an_error_as_the_first_signal_tells_the_agreement() -> None:
    failed = receiver_of(NAMED).fail(Fault(FaultCode.BUSY, "Later."))
    assert json.loads(failed) == {
        "error": "Later.", "fatal": True, "code": "busy", "can": ["resume"],
    }  # fmt: skip


def test_an_error_on_the_way_tells_how_long_data_is_kept() -> None:
    receiver = receiver_of(NAMED, offset=0)
    sent(receiver, receiver.grant(10, 1))
    failed = receiver.fail(Fault(FaultCode.IDLE, "Silence."), kept=86400)
    assert json.loads(failed) == {
        "error": "Silence.", "fatal": True, "code": "idle", "kept": 86400,
    }  # fmt: skip
    sender = started()
    signal = sender.receive_text(failed)
    assert isinstance(signal, Error)
    assert signal.kept == 86400


def test_a_server_that_says_nothing_of_extensions_gets_the_classic_dialogue() -> None:
    sender = started()
    sender.receive_text(ready(chunksize=10))
    assert (sender.agreement, sender.resumable, sender.sent) == (None, False, 0)
    with pytest.raises(LocalProtocolError):
        sender.abandon()


def test_only_the_first_signal_agrees() -> None:
    sender = started()
    sender.receive_text(ready())
    sender.receive_text(ready(can=["resume"], offset=7, keep=60))
    assert (sender.agreement, sender.sent) == (None, 0)


def test_a_client_that_offered_nothing_ignores_what_a_server_says() -> None:
    sender = started(Metadata("a", 10))
    sender.receive_text(ready(can=["resume"], offset=7, keep=60))
    assert (sender.agreement, sender.sent) == (None, 0)


# Offsets


@pytest.mark.parametrize("offset", [0, 1, 9])
def test_an_upload_continues_at_the_offset(offset: int) -> None:
    receiver, sender = receiver_of(NAMED, offset=offset), started()
    assert receiver.received == offset
    sender.receive_text(json.dumps(sent(receiver, receiver.grant(100, 1))))
    assert sender.next_due() == ChunkDue(offset, 10 - offset)


def test_a_complete_file_is_only_finished() -> None:
    receiver, sender = receiver_of(NAMED, offset=10), started()
    sender.receive_text(json.dumps(sent(receiver, receiver.grant(100, 1))))
    assert sender.next_due() == FinishedDue()
    assert receiver.receive_text(sender.finish()) == Finished()
    sender.receive_text(receiver.close())
    assert sender.state is SenderState.STORED


@pytest.mark.parametrize(
    "offset", [-1, 11, 1.0, "5", None, True, [], 2**63, 1e999], ids=str
)  # fmt: skip
def test_an_offset_outside_the_file_is_a_violation(offset: object) -> None:
    sender = started()
    with pytest.raises(RemoteProtocolError) as caught:
        sender.receive_text(ready(can=["resume"], offset=offset).replace("Infinity", "1e999"))
    assert caught.value.code is FaultCode.BAD_MESSAGE
    assert (sender.state, sender.sent, sender.next_due()) == (SenderState.SENDING, 0, None)


@pytest.mark.parametrize("offset", [-1, 11])
def test_a_receiver_cannot_resume_outside_the_file(offset: int) -> None:
    with pytest.raises(LocalProtocolError):
        receiver_of(NAMED, offset=offset)


def test_a_receiver_can_resume_only_before_its_first_signal() -> None:
    receiver = receiver_of(NAMED)
    granted = receiver.grant(3, 1)
    assert granted
    with pytest.raises(LocalProtocolError):
        receiver.ready(granted)
    receiver.resume(Resumption(0, 60))
    sent(receiver, receiver.grant(3, 1))
    with pytest.raises(LocalProtocolError):
        receiver.resume(Resumption(0, 60))
    with pytest.raises(LocalProtocolError):
        receiver.close_stored()


# Stored already


@pytest.mark.parametrize("size", [0, 10])
def test_a_file_that_is_stored_already_is_closed_at_once(size: int) -> None:
    metadata = evolve(NAMED, size=size)
    receiver, sender = receiver_of(metadata), started(metadata)
    path = "june/big (1).iso"
    signal = receiver.close_stored(path)
    keys = {"name": "big (1).iso", "path": path, "can": ["resume"]}
    assert json.loads(signal) == {"close": True, **keys}
    sender.receive_text(signal)
    assert (sender.state, receiver.state) == (SenderState.STORED, ReceiverState.CLOSED)


def test_a_close_of_an_old_server_is_no_close_before_the_data() -> None:
    with pytest.raises(RemoteProtocolError):
        started().receive_text('{"close": true}')


# Abandoning


def test_a_client_may_abandon_an_upload_on_the_way() -> None:
    receiver, sender = receiver_of(NAMED, offset=0), started()
    sender.receive_text(json.dumps(sent(receiver, receiver.grant(4, 1))))
    assert receiver.receive_text(sender.abandon()) == Abandon()
    assert sender.next_due() is None
    sender.receive_text(receiver.fail(Fault(FaultCode.IDLE, "As an example.")))
    assert sender.state is SenderState.FAILED


@pytest.mark.parametrize("file", [1, -1, "0", None, False, 0.0, [0]])
def test_abandonment_of_another_file_changes_nothing(file: object) -> None:
    receiver = receiver_of(NAMED, offset=0)
    assert receiver.receive_text('{"abandon": true, "file": 0}') == Abandon()
    signal = json.dumps({"abandon": True, "file": file})
    assert receiver_of(NAMED, offset=0).receive_text(signal) == Ignored()


def test_a_close_may_cross_the_abandonment() -> None:
    receiver, sender = receiver_of(NAMED, offset=10), started()
    sender.receive_text(json.dumps(sent(receiver, receiver.grant(4, 1))))
    receiver.receive_text(sender.finish())
    close, abandon = receiver.close(), sender.abandon()
    assert receiver.receive_text(abandon) == Ignored()
    assert sender.receive_text(close) == Close()
    assert sender.state is SenderState.STORED


@pytest.mark.parametrize("others", [{}, {"can": ["resume"]}, {"upload": KEY}])
def test_metadata_without_a_key_that_can_be_resumed_abandon_nothing(
    others: dict[str, object],
) -> None:
    signal = {"name": "a", "size": 1, "abandon": True, **others}
    metadata = UploadReceiver(can=CAN).receive_text(json.dumps(signal))
    assert isinstance(metadata, Metadata)
    assert not metadata.abandon


def test_metadata_may_abandon_what_is_kept() -> None:
    sender = UploadSender(evolve(NAMED, abandon=True))
    metadata = decode_client(sender.start())
    assert isinstance(metadata, Metadata)
    assert metadata.abandon
    assert sender.state is SenderState.ABANDONED
    sender.receive_text(ready(chunksize=5))  # of an old server, which is left unanswered
    assert sender.next_due() is None


# Values


def test_the_key_is_in_no_representation() -> None:
    assert KEY not in repr(NAMED)
    assert KEY not in repr(receiver_of(NAMED).metadata)


def test_keys_differ_only_by_their_digits() -> None:
    assert decode_client(encode_metadata(evolve(NAMED, upload=KEY.upper()))) == NAMED


@pytest.mark.parametrize(
    "key",
    [
        "",
        "9f2c",
        KEY + "0",
        KEY[:-1] + "g",
        KEY[:-1] + "\n",
        KEY[:-1] + "\u0663",
        7,
        [KEY],
        {},
        True,
    ],
    ids=repr,
)
def test_a_key_of_another_form_is_refused(key: object) -> None:
    signal = {"name": "a", "size": 3, "upload": key, "can": ["resume"]}
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(json.dumps(signal))
    assert caught.value.code is FaultCode.BAD_METADATA
    assert caught.value.details == {"key": "upload"}
    assert str(key) not in caught.value.reason or not str(key)


@pytest.mark.parametrize("can", [None, "resume", {"resume": 1}, 5, ["next", 5, None, ["resume"]]])
def test_a_key_is_ignored_where_resuming_is_not_offered(can: object) -> None:
    signal = {"name": "a", "size": 3, "upload": 5, "can": can}
    metadata = decode_client(json.dumps(signal))
    assert isinstance(metadata, Metadata)
    assert metadata.upload is None


@pytest.mark.parametrize(
    ("keys", "folder", "modified"),
    [
        ({"folder": "2026/june", "modified": 1768300000000}, "2026/june", 1768300000000),
        ({"folder": 5, "modified": "5"}, None, None),
        ({"folder": None, "modified": True}, None, None),
        ({"folder": [], "modified": 1.5}, None, None),
    ],
)
def test_folder_and_modification_time_are_read_where_they_are_valid(
    keys: dict[str, object], folder: str | None, modified: int | None
) -> None:
    expected = Metadata("a", 3, folder=folder, modified=modified)
    assert decode_client(json.dumps({"name": "a", "size": 3, **keys})) == expected


@given(
    st.builds(
        Metadata,
        st.text(),
        st.integers(0, MAX_SIZE),
        token=st.none() | st.text(),
        folder=st.none() | st.text(),
        modified=st.none() | st.integers(),
        can=st.just(CAN | {"next"}),
        upload=st.none() | st.integers(0, 2**128 - 1).map("{:032x}".format),
        abandon=st.booleans(),
    ).map(lambda each: evolve(each, abandon=each.abandon and each.upload is not None))
)
def test_metadata_survives_its_encoding(metadata: Metadata) -> None:
    assert decode_client(encode_metadata(metadata)) == metadata


@pytest.mark.parametrize(
    ("kept", "expected"),
    [(5, 5), (0, 0), (5.9, 5), (-1, None), (True, None), ("5", None), (None, None)],
    ids=repr,
)
def test_kept_is_a_number_of_seconds(kept: object, expected: int | None) -> None:
    signal = decode_server(json.dumps({"error": "Silence.", "fatal": True, "kept": kept}))
    assert isinstance(signal, Error)
    assert signal.kept == expected


@pytest.mark.parametrize(
    "check", [None, 5, {}, {"type": "sha1"}, {"type": 5, "value": "a"}], ids=repr
)
def test_a_check_of_another_form_is_left_out(check: object) -> None:
    signal = decode_server(ready(can=["resume"], offset=3, keep=9.5, check=check))
    assert signal == Ready(agreement=Agreement(CAN, Resumption(3, 9)))
