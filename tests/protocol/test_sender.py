import json

import pytest

from galileod.protocol.errors import FaultCode, LocalProtocolError, RemoteProtocolError
from galileod.protocol.messages import Close, Error, HashClaim, Ignored, Metadata, Ready
from galileod.protocol.sender import DEFAULT_CHUNK, MAX_CREDITS, ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

READY = '{"ready": true}'
CLOSE = '{"close": true}'
CLOSE_WITH_NAME = '{"close": true, "name": "a (1).txt", "more": []}'


def ready(chunksize: int) -> str:
    return json.dumps({"ready": True, "chunksize": chunksize})


def started(size: int) -> UploadSender:
    sender = UploadSender(Metadata("a.txt", size))
    sender.start()
    return sender


def all_sent(size: int = 5) -> UploadSender:
    sender = started(size)
    sender.receive_text(ready(size))
    sender.chunk_sent(size)
    return sender


def finished() -> UploadSender:
    sender = all_sent()
    sender.receive_text(READY)
    sender.finish()
    return sender


def state_of(sender: UploadSender) -> SenderState:
    """The state as it is now: a plain attribute is taken to stay what a test last saw."""
    return sender.state


def refusal(sender: UploadSender, text: str) -> RemoteProtocolError:
    """The error for a message, which has left everything as it was."""
    before = (sender.state, sender.sent, sender.next_due())
    with pytest.raises(RemoteProtocolError) as caught:
        sender.receive_text(text)
    assert (sender.state, sender.sent, sender.next_due()) == before
    return caught.value


def test_a_file_is_sent_chunk_by_chunk_and_then_finished() -> None:
    sender = UploadSender(Metadata("a.txt", 5))
    assert json.loads(sender.start()) == {"name": "a.txt", "size": 5}
    assert sender.next_due() is None
    assert sender.receive_text(ready(3)) == Ready(3)
    assert sender.next_due() == ChunkDue(0, 3)
    sender.chunk_sent(3)
    assert sender.next_due() is None
    sender.receive_text(ready(3))
    assert sender.next_due() == ChunkDue(3, 2)
    sender.chunk_sent(2)
    assert sender.next_due() is None
    sender.receive_text(READY)
    assert sender.next_due() == FinishedDue()
    assert json.loads(sender.finish()) == {"finished": True}
    assert sender.receive_text(CLOSE) == Close()
    assert state_of(sender) is SenderState.STORED
    assert sender.sent == 5


def test_several_open_readies_are_answered_in_order_each_with_its_own_size() -> None:
    sender = started(100)
    for size in (10, 20, 30):
        sender.receive_text(ready(size))
    found: list[ChunkDue | FinishedDue | None] = []
    for length in (10, 20, 30):
        found.append(sender.next_due())
        sender.chunk_sent(length)
    assert found == [ChunkDue(0, 10), ChunkDue(10, 20), ChunkDue(30, 30)]
    assert sender.next_due() is None


@pytest.mark.parametrize("text", [READY, ready(0)])
@pytest.mark.parametrize(("size", "length"), [(10, 10), (1_000_000, DEFAULT_CHUNK)])
def test_a_ready_without_a_chunksize_gets_the_default_chunk(
    text: str, size: int, length: int
) -> None:
    sender = started(size)
    sender.receive_text(text)
    assert sender.next_due() == ChunkDue(0, length)


def test_the_default_chunk_may_be_another_one() -> None:
    sender = UploadSender(Metadata("a", 100), default_chunk=7)
    sender.start()
    sender.receive_text(READY)
    sender.receive_text(ready(50))
    assert sender.next_due() == ChunkDue(0, 7)
    sender.chunk_sent(7)
    assert sender.next_due() == ChunkDue(7, 50)


def test_an_empty_file_is_finished_at_the_first_ready() -> None:
    sender = started(0)
    assert sender.next_due() is None
    sender.receive_text(READY)
    assert sender.next_due() == FinishedDue()
    sender.finish()
    sender.receive_text(CLOSE)
    assert state_of(sender) is SenderState.STORED


def test_the_hash_goes_with_finished() -> None:
    sender = all_sent()
    sender.receive_text(READY)
    signal = {"finished": True, "hash": {"type": "sha1", "value": "ab"}}
    assert json.loads(sender.finish(HashClaim("sha1", "ab"))) == signal


def test_a_surplus_ready_is_answered_with_one_more_finished() -> None:
    sender = finished()
    assert sender.next_due() is None
    sender.receive_text(READY)
    assert sender.next_due() == FinishedDue()
    assert json.loads(sender.finish()) == {"finished": True}
    assert state_of(sender) is SenderState.AWAIT_CLOSE
    sender.receive_text(CLOSE)
    assert state_of(sender) is SenderState.STORED


def test_readies_open_at_the_last_byte_ask_for_finished() -> None:
    sender = started(5)
    for _ in range(3):
        sender.receive_text(ready(5))
    sender.chunk_sent(5)
    sender.finish()
    sender.finish()
    assert sender.next_due() is None


def test_a_close_may_say_more_such_as_the_name_that_the_file_got() -> None:
    sender = finished()
    assert sender.receive_text(CLOSE_WITH_NAME) == Close("a (1).txt")
    assert state_of(sender) is SenderState.STORED


@pytest.mark.parametrize(("size", "sent"), [(5, 0), (5, 3), (5, 5), (0, 0)])
def test_a_close_before_finished_is_a_bad_message(size: int, sent: int) -> None:
    sender = started(size)
    if sent:
        sender.receive_text(ready(size))
        sender.chunk_sent(sent)
    assert refusal(sender, CLOSE).code is FaultCode.BAD_MESSAGE
    sender.receive_text(READY)
    assert refusal(sender, CLOSE).code is FaultCode.BAD_MESSAGE


def test_a_ready_before_the_metadata_is_a_bad_message() -> None:
    assert refusal(UploadSender(Metadata("a", 5)), READY).code is FaultCode.BAD_MESSAGE


@pytest.mark.parametrize("text", [READY, CLOSE, '{"error": "x"}'])
def test_nothing_more_may_come_after_close(text: str) -> None:
    sender = finished()
    sender.receive_text(CLOSE)
    assert refusal(sender, text).code is FaultCode.BAD_MESSAGE


def test_an_error_that_is_not_fatal_lets_the_upload_go_on() -> None:
    sender = started(5)
    assert sender.receive_text('{"error": "slow"}') == Error("slow", details={"error": "slow"})
    sender.receive_text(READY)
    assert sender.next_due() == ChunkDue(0, 5)


def test_a_fatal_error_ends_the_upload_and_nothing_more_is_due() -> None:
    sender = started(5)
    sender.receive_text(READY)
    signal = sender.receive_text('{"error": "full", "fatal": true, "code": "no_space"}')
    assert isinstance(signal, Error)
    assert (signal.reason, signal.fatal, signal.details["code"]) == ("full", True, "no_space")
    assert state_of(sender) is SenderState.FAILED
    assert sender.next_due() is None
    with pytest.raises(LocalProtocolError):
        sender.chunk_sent(5)


def test_a_server_may_refuse_before_it_has_the_metadata() -> None:
    sender = UploadSender(Metadata("a", 5))
    sender.receive_text('{"error": "stopping", "fatal": true}')
    with pytest.raises(LocalProtocolError):
        sender.start()


def test_an_unknown_signal_changes_nothing() -> None:
    sender = started(5)
    assert sender.receive_text('{"news": 1}') == Ignored()
    assert (sender.state, sender.next_due()) == (SenderState.SENDING, None)


def test_more_readies_than_any_server_needs_are_a_bad_message() -> None:
    sender = started(MAX_CREDITS + 5)
    for _ in range(MAX_CREDITS):
        sender.receive_text(ready(1))
    assert refusal(sender, ready(1)).code is FaultCode.BAD_MESSAGE
    sender.chunk_sent(1)
    assert sender.receive_text(ready(1)) == Ready(1)


@pytest.mark.parametrize("length", [-1, 0, 11])
def test_a_chunk_that_is_not_due_is_a_local_mistake(length: int) -> None:
    sender = started(100)
    sender.receive_text(ready(10))
    with pytest.raises(LocalProtocolError):
        sender.chunk_sent(length)
    assert (sender.sent, sender.next_due()) == (0, ChunkDue(0, 10))


def test_a_chunk_without_a_ready_is_a_local_mistake() -> None:
    sender = started(100)
    with pytest.raises(LocalProtocolError):
        sender.chunk_sent(1)
    assert sender.sent == 0


@pytest.mark.parametrize("text", [None, READY])
def test_finished_before_the_last_byte_is_a_local_mistake(text: str | None) -> None:
    sender = started(100)
    if text:
        sender.receive_text(text)
    with pytest.raises(LocalProtocolError):
        sender.finish()
    assert state_of(sender) is SenderState.SENDING


def test_finished_without_a_ready_is_a_local_mistake() -> None:
    sender = all_sent()
    with pytest.raises(LocalProtocolError):
        sender.finish()
    assert state_of(sender) is SenderState.FINISHING


def test_metadata_goes_out_once() -> None:
    sender = started(5)
    with pytest.raises(LocalProtocolError):
        sender.start()
    assert state_of(sender) is SenderState.SENDING


def test_less_than_is_due_may_be_sent() -> None:
    sender = started(10)
    sender.receive_text(ready(10))
    sender.chunk_sent(4)
    assert sender.next_due() is None
    sender.receive_text(ready(10))
    assert sender.next_due() == ChunkDue(4, 6)
