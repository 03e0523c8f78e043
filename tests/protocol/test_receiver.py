import json

import pytest

from galileod.protocol.errors import Fault, FaultCode, Json, LocalProtocolError, RemoteProtocolError
from galileod.protocol.messages import Finished, HashClaim, Ignored, Limits, Metadata
from galileod.protocol.receiver import MAX_EMPTY_CHUNKS, AskFinished, Chunk, Credit, UploadReceiver
from galileod.protocol.states import ReceiverState

FINISHED = '{"finished": true}'
OWN_CHUNK = 250_000
"""What the original client sends where it heeds no chunksize."""


def receiver_of(size: int) -> UploadReceiver:
    receiver = UploadReceiver()
    receiver.receive_text(json.dumps({"name": "a.txt", "size": size}))
    return receiver


def finished_receiver(size: int = 3) -> UploadReceiver:
    receiver = receiver_of(size)
    receiver.grant(size, 1)
    receiver.receive_binary(size)
    receiver.receive_text(FINISHED)
    return receiver


def grants(receiver: UploadReceiver, chunk: int, in_flight: int) -> list[int | AskFinished]:
    found: list[int | AskFinished] = []
    while (granted := receiver.grant(chunk, in_flight)) is not None:
        found.append(granted.length if isinstance(granted, Credit) else granted)
    return found


def put(receiver: UploadReceiver, message: str | int) -> None:
    if isinstance(message, str):
        receiver.receive_text(message)
    else:
        receiver.receive_binary(message)


def state_of(receiver: UploadReceiver) -> ReceiverState:
    """The state as it is now: a plain attribute is taken to stay what a test last saw."""
    return receiver.state


def refusal(receiver: UploadReceiver, message: str | int) -> RemoteProtocolError:
    """The error for a message, which has left everything as it was."""
    before = (receiver.state, receiver.received, receiver.window.outstanding)
    with pytest.raises(RemoteProtocolError) as caught:
        put(receiver, message)
    assert (receiver.state, receiver.received, receiver.window.outstanding) == before
    return caught.value


def verdict(error: Fault) -> tuple[FaultCode, dict[str, Json]]:
    return error.code, dict(error.details)


def test_a_file_in_the_order_of_the_javascript_client_is_received() -> None:
    receiver = UploadReceiver()
    assert receiver.receive_text('{"name": "a.txt", "size": 5}') == Metadata("a.txt", 5)
    assert receiver.grant(3, 1) == Credit(3)
    assert receiver.receive_binary(3) == Chunk(3)
    assert receiver.grant(3, 1) == Credit(2)
    assert receiver.receive_binary(2) == Chunk(2)
    assert receiver.grant(3, 1) == AskFinished()
    assert receiver.receive_text(FINISHED) == Finished()
    assert state_of(receiver) is ReceiverState.VERIFYING
    assert json.loads(receiver.close()) == {"close": True}
    assert state_of(receiver) is ReceiverState.CLOSED
    assert receiver.received == 5


def test_the_empty_chunk_of_the_perl_client_at_the_end_is_answered_with_one_more_ready() -> None:
    receiver = receiver_of(3)
    assert receiver.grant(9, 1) == Credit(3)
    receiver.receive_binary(3)
    assert receiver.grant(9, 1) == AskFinished()
    assert receiver.receive_binary(0) == Chunk(0)
    assert receiver.grant(9, 1) == AskFinished()
    assert receiver.receive_text(FINISHED) == Finished()


def test_an_empty_file_is_asked_for_finished_at_once() -> None:
    receiver = receiver_of(0)
    assert grants(receiver, 100, 16) == [AskFinished()]
    assert receiver.receive_text(FINISHED) == Finished()


def test_an_empty_file_may_come_with_an_empty_chunk() -> None:
    receiver = receiver_of(0)
    assert grants(receiver, 100, 16) == [AskFinished()]
    assert receiver.receive_binary(0) == Chunk(0)
    assert grants(receiver, 100, 16) == [AskFinished()]
    assert receiver.receive_text(FINISHED) == Finished()
    assert receiver.received == 0


@pytest.mark.parametrize("size", [1, 250_000, 1_100_000, 2_000_000, 2_345_678, 5_000_001])
@pytest.mark.parametrize("chunk", [250_000, 262_144, 600_000, 1_048_576])
@pytest.mark.parametrize("in_flight", [1, 2, 16])
def test_a_client_that_heeds_no_chunksize_is_served(size: int, chunk: int, in_flight: int) -> None:
    receiver = receiver_of(size)
    while receiver.state is ReceiverState.RECEIVING:
        grants(receiver, chunk, in_flight)
        receiver.receive_binary(min(OWN_CHUNK, size - receiver.received))
    assert receiver.received == size
    assert grants(receiver, chunk, in_flight) == [AskFinished()]
    assert receiver.receive_text(FINISHED) == Finished()


@pytest.mark.parametrize("received", [0, 4])
def test_finished_before_the_end_is_a_size_mismatch(received: int) -> None:
    receiver = receiver_of(10)
    receiver.grant(4, 2)
    if received:
        receiver.receive_binary(received)
    error = refusal(receiver, FINISHED)
    details = {"expected": 10, "received": received}
    assert verdict(error) == (FaultCode.SIZE_MISMATCH, details)
    assert error.reason == f"Expected: 10 bytes. Got: {received} bytes."


def test_a_second_finished_does_no_harm() -> None:
    receiver = finished_receiver()
    assert receiver.receive_text(FINISHED) == Finished()
    assert state_of(receiver) is ReceiverState.VERIFYING
    receiver.close()
    assert receiver.receive_text(FINISHED) == Finished()
    assert state_of(receiver) is ReceiverState.CLOSED


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (None, {}),
        ("a.txt", {"path": "a.txt"}),
        ("june/a.txt", {"path": "june/a.txt"}),
        ("june/a (1).txt", {"name": "a (1).txt", "path": "june/a (1).txt"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("can", ["", ', "can": []', ', "can": ["next"]'])
def test_close_has_the_path_where_an_extension_is_agreed(
    can: str, path: str | None, keys: dict[str, str]
) -> None:
    receiver = UploadReceiver(frozenset({"next"}))
    receiver.receive_text(f'{{"name": "a.txt", "size": 0{can}}}')
    receiver.offer(Limits(1, 0, 0))
    (asked,) = grants(receiver, 1, 1)
    assert isinstance(asked, AskFinished)
    receiver.ready(asked)
    receiver.receive_text(FINISHED)
    if "next" not in can:
        keys = {key: value for key, value in keys.items() if key != "path"}
    assert json.loads(receiver.close(path)) == {"close": True, **keys}
    if receiver.has_next:
        following = receiver.next()
        following.receive_text('{"name": "a.txt", "size": 0}')
        following.receive_text(FINISHED)
        assert json.loads(following.close(path)) == {"close": True, "file": 1, **keys}


def test_a_hash_comes_out_with_finished() -> None:
    receiver = receiver_of(0)
    text = '{"finished": true, "hash": {"type": "SHA1", "value": "AB"}}'
    assert receiver.receive_text(text) == Finished(HashClaim("sha1", "ab"))


@pytest.mark.parametrize("size", [0, 10])
def test_metadata_that_comes_twice_is_a_bad_message(size: int) -> None:
    receiver = receiver_of(size)
    error = refusal(receiver, '{"name": "b", "size": 7}')
    assert error.code is FaultCode.BAD_MESSAGE
    assert receiver.metadata == Metadata("a.txt", size)


@pytest.mark.parametrize("message", [5, 0, FINISHED])
def test_anything_before_the_metadata_is_a_bad_message(message: int | str) -> None:
    assert refusal(UploadReceiver(), message).code is FaultCode.BAD_MESSAGE


def test_a_chunk_above_its_credit_is_a_bad_chunk() -> None:
    receiver = receiver_of(100)
    receiver.grant(10, 1)
    details = {"limit": 10, "received": 11}
    assert verdict(refusal(receiver, 11)) == (FaultCode.BAD_CHUNK, details)


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_chunk_that_nobody_asked_for_is_a_bad_chunk(length: int) -> None:
    details = {"limit": 0, "received": length}
    assert verdict(refusal(receiver_of(100), length)) == (FaultCode.BAD_CHUNK, details)


def test_more_than_was_declared_is_a_size_mismatch() -> None:
    receiver = receiver_of(100)
    receiver.grant(60, 1)
    receiver.receive_binary(60)
    receiver.grant(60, 1)
    details = {"expected": 100, "received": 101}
    assert verdict(refusal(receiver, 41)) == (FaultCode.SIZE_MISMATCH, details)


@pytest.mark.parametrize("close", [False, True])
def test_data_after_the_last_byte_is_a_size_mismatch(*, close: bool) -> None:
    receiver = finished_receiver(3)
    if close:
        receiver.close()
    details = {"expected": 3, "received": 4}
    assert verdict(refusal(receiver, 1)) == (FaultCode.SIZE_MISMATCH, details)


def test_empty_chunks_are_taken_up_to_a_bound_while_data_is_due() -> None:
    receiver = receiver_of(100)
    for _ in range(MAX_EMPTY_CHUNKS):
        receiver.grant(10, 1)
        assert receiver.receive_binary(0) == Chunk(0)
    receiver.grant(10, 1)
    assert refusal(receiver, 0).code is FaultCode.BAD_CHUNK
    assert receiver.receive_binary(10) == Chunk(10)


@pytest.mark.parametrize("state", [ReceiverState.EXPECT_FINISHED, ReceiverState.CLOSED])
def test_empty_chunks_are_taken_up_to_a_bound_after_the_data(state: ReceiverState) -> None:
    receiver = receiver_of(0)
    if state is ReceiverState.CLOSED:
        receiver = finished_receiver()
        receiver.close()
    assert state_of(receiver) is state
    for _ in range(MAX_EMPTY_CHUNKS):
        receiver.receive_binary(0)
    assert refusal(receiver, 0).code is FaultCode.BAD_CHUNK


def test_an_empty_chunk_answers_one_ready() -> None:
    receiver = receiver_of(100)
    assert grants(receiver, 10, 2) == [10, 10]
    receiver.receive_binary(0)
    assert receiver.window.outstanding == 1
    assert grants(receiver, 10, 2) == [10]


def test_an_unknown_signal_is_passed_over_in_every_state() -> None:
    receiver = UploadReceiver()
    for _ in ReceiverState:
        state = receiver.state
        assert receiver.receive_text('{"news": 1}') == Ignored()
        assert state_of(receiver) is state
        match state:
            case ReceiverState.EXPECT_METADATA:
                receiver.receive_text('{"name": "a", "size": 1}')
            case ReceiverState.RECEIVING:
                receiver.grant(1, 1)
                receiver.receive_binary(1)
            case ReceiverState.EXPECT_FINISHED:
                receiver.receive_text(FINISHED)
            case ReceiverState.VERIFYING:
                receiver.fail(Fault(FaultCode.INTERNAL, "x"))
            case _:
                assert state is ReceiverState.FAILED


def test_credits_fill_the_window_and_add_up_to_the_file() -> None:
    assert grants(receiver_of(1000), 100, 4) == [100, 100, 100, 100]
    assert grants(receiver_of(250), 100, 4) == [100, 100, 50]
    assert grants(receiver_of(250), 1000, 4) == [250]


def test_the_ready_for_finished_is_sent_once_and_after_the_last_byte() -> None:
    receiver = receiver_of(20)
    assert grants(receiver, 10, 4) == [10, 10]
    receiver.receive_binary(10)
    assert grants(receiver, 10, 4) == []
    receiver.receive_binary(10)
    assert grants(receiver, 10, 4) == [AskFinished()]


def test_a_smaller_window_waits_until_enough_chunks_have_come() -> None:
    receiver = receiver_of(1000)
    grants(receiver, 10, 3)
    receiver.receive_binary(10)
    receiver.receive_binary(10)
    assert receiver.grant(10, 1) is None
    receiver.receive_binary(10)
    assert receiver.grant(10, 1) == Credit(10)


@pytest.mark.parametrize(
    ("granted", "signal"),
    [(AskFinished(), {"ready": True}), (Credit(7), {"ready": True, "chunksize": 7})],
)
def test_a_credit_is_sent_as_ready_with_its_size(
    granted: Credit | AskFinished, signal: dict[str, object]
) -> None:
    assert json.loads(UploadReceiver().ready(granted)) == signal


def test_nothing_has_been_received_before_the_metadata() -> None:
    assert UploadReceiver().received == 0


def test_a_fault_becomes_a_fatal_error_signal_and_ends_the_upload() -> None:
    receiver = receiver_of(10)
    signal = receiver.fail(Fault(FaultCode.TOO_LARGE, "Too large.", limit=5))
    expected = {"error": "Too large.", "fatal": True, "code": "too_large", "limit": 5}
    assert json.loads(signal) == expected
    assert state_of(receiver) is ReceiverState.FAILED
    assert refusal(receiver, FINISHED).code is FaultCode.BAD_MESSAGE


def test_a_peers_mistake_can_be_answered_with_its_own_error() -> None:
    receiver = receiver_of(10)
    error = refusal(receiver, FINISHED)
    assert json.loads(receiver.fail(error))["code"] == "size_mismatch"


def test_close_is_not_sent_before_finished_nor_twice() -> None:
    receiver = receiver_of(0)
    with pytest.raises(LocalProtocolError):
        receiver.close()
    receiver.receive_text(FINISHED)
    receiver.close()
    with pytest.raises(LocalProtocolError):
        receiver.close()


@pytest.mark.parametrize(
    ("stored", "signal"),
    [
        ("a.txt", {"close": True}),
        ("a (1).txt", {"close": True, "name": "a (1).txt"}),
        (None, {"close": True}),
    ],
)
def test_close_tells_the_name_only_where_the_client_sent_another(
    stored: str | None, signal: dict[str, object]
) -> None:
    assert json.loads(finished_receiver().close(stored)) == signal


def test_a_fatal_error_is_not_sent_after_close_nor_twice() -> None:
    fault = Fault(FaultCode.INTERNAL, "x")
    closed = finished_receiver()
    closed.close()
    failed = receiver_of(0)
    failed.fail(fault)
    for receiver in (closed, failed):
        with pytest.raises(LocalProtocolError):
            receiver.fail(fault)


@pytest.mark.parametrize(
    ("size", "length", "code"),
    [
        (None, 5, FaultCode.BAD_MESSAGE),
        (100, 101, FaultCode.SIZE_MISMATCH),
        (100, 100, FaultCode.BAD_CHUNK),
    ],
)
def test_an_announced_length_above_the_credit_has_the_error_of_such_a_chunk(
    size: int | None, length: int, code: FaultCode
) -> None:
    receiver = UploadReceiver() if size is None else receiver_of(size)
    assert receiver.overrun(length).code is code
