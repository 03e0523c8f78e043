"""Asking what is stored, on both sides: the form of the signals, and when they may come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.protocol.decoding import decode_client, decode_server
from galileod.protocol.encoding import encode_ask, encode_held
from galileod.protocol.errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from galileod.protocol.files_sender import FilesSender
from galileod.protocol.messages import (
    ASK,
    MAX_ASKED,
    MAX_SIZE,
    Ask,
    AskEntry,
    Finished,
    HashClaim,
    Held,
    Ignored,
    Limits,
    Metadata,
)
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.sender import UploadSender

AGREED = frozenset({ASK})
LIMITS = Limits(2, 100, 150)
QUESTION = '{"ask": [{"name": "a", "size": 5, "modified": 1}], "n": 1}'
ENTRY = AskEntry("a", 5, modified=1)
SHA1 = {"type": "SHA1", "value": "AB"}
WITHIN = "A question came within a file. It may come only between files."
ABANDONED = Fault(FaultCode.ABANDONED, "It is abandoned.")


def question_of(entry: object, n: object = 1) -> str:
    return json.dumps({"ask": [entry], "n": n})


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"name": "a", "size": 5, "modified": 1}, ENTRY),
        ({"name": "a", "size": 5, "hash": SHA1}, AskEntry("a", 5, hash=HashClaim("sha1", "ab"))),
        (
            {"name": "", "size": 0, "folder": "x/y", "modified": -1, "hash": SHA1, "more": []},
            AskEntry("", 0, "x/y", -1, HashClaim("sha1", "ab")),
        ),
        (
            {"name": "a", "size": MAX_SIZE, "folder": None, "modified": 10**30, "hash": None},
            AskEntry("a", MAX_SIZE, modified=10**30),
        ),
    ],
    ids=str,
)
def test_an_entry_is_read(entry: object, read: AskEntry) -> None:
    assert decode_client(question_of(entry), AGREED) == Ask((read,), 1)


@pytest.mark.parametrize(
    "entry",
    [
        *("a", 5, None, [], {}),
        {"size": 5, "modified": 1},
        {"name": 1, "size": 5, "modified": 1},
        {"name": "a", "modified": 1},
        {"name": "a", "size": "5", "modified": 1},
        {"name": "a", "size": 5.0, "modified": 1},
        {"name": "a", "size": True, "modified": 1},
        {"name": "a", "size": -1, "modified": 1},
        {"name": "a", "size": MAX_SIZE + 1, "modified": 1},
        {"name": "a", "size": 5, "folder": ["x"], "modified": 1},
        {"name": "a", "size": 5},
        {"name": "a", "size": 5, "modified": None, "hash": None},
        {"name": "a", "size": 5, "modified": "1"},
        {"name": "a", "size": 5, "modified": 1.5},
        {"name": "a", "size": 5, "modified": True},
        {"name": "a", "size": 5, "hash": "ab"},
        {"name": "a", "size": 5, "hash": {"type": "sha1"}},
    ],
    ids=str,
)
def test_an_entry_of_another_form_is_a_bad_message_that_quotes_nothing(entry: object) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(question_of(entry), AGREED)
    assert caught.value.code is FaultCode.BAD_MESSAGE
    assert caught.value.details == {}


@pytest.mark.parametrize(
    "signal",
    [
        {"ask": None, "n": 1},
        {"ask": True, "n": 1},
        {"ask": [], "n": 1},
        {"ask": {"name": "a"}, "n": 1},
        {"ask": [{"name": "a", "size": 5, "modified": 1}]},
        {"ask": [{"name": "a", "size": 5, "modified": 1}], "n": "1"},
        {"ask": [{"name": "a", "size": 5, "modified": 1}], "n": True},
        {"ask": [{"name": "a", "size": 5, "modified": 1}], "n": 1.0},
        {"ask": [{"name": "a", "size": 5, "modified": 1}], "n": 2**64},
    ],
    ids=str,
)
def test_a_question_of_another_form_is_a_bad_message(signal: object) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(json.dumps(signal), AGREED)
    assert caught.value.code is FaultCode.BAD_MESSAGE


def test_a_question_has_a_limit_which_its_fault_names() -> None:
    most = encode_ask(Ask((ENTRY,) * MAX_ASKED, 1))
    assert decode_client(most, AGREED) == Ask((ENTRY,) * MAX_ASKED, 1)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(encode_ask(Ask((ENTRY,) * (MAX_ASKED + 1), 1)), AGREED)
    assert caught.value.code is FaultCode.BAD_MESSAGE
    assert caught.value.details == {"limit": 256}


def test_a_signal_that_is_another_one_is_no_question() -> None:
    named = '{"ask": [], "n": 1, "name": "a", "size": 5}'
    assert decode_client(named, AGREED) == Metadata("a", 5)
    assert decode_client('{"ask": [], "finished": true}', AGREED) == Finished()


@pytest.mark.parametrize("text", [QUESTION, '{"ask": 5}', '{"ask": [], "n": 1}'])
def test_without_agreement_the_signal_is_unknown(text: str) -> None:
    assert decode_client(text) == Ignored()


ANY_TEXT = st.text(st.characters())
CLAIMS = st.builds(HashClaim, ANY_TEXT.map(str.lower), ANY_TEXT.map(str.lower)).filter(
    lambda claim: (claim.type.lower(), claim.value.lower()) == (claim.type, claim.value)
)
ENTRIES = st.builds(
    AskEntry,
    ANY_TEXT,
    st.integers(0, MAX_SIZE),
    st.none() | ANY_TEXT,
    st.none() | st.integers(),
    st.none() | CLAIMS,
).filter(lambda entry: entry.modified is not None or entry.hash is not None)
QUESTIONS = st.builds(
    Ask,
    st.lists(ENTRIES, min_size=1, max_size=5).map(tuple),
    st.integers(-MAX_SIZE, MAX_SIZE),
)


@given(QUESTIONS)
def test_a_question_reads_back_as_written(question: Ask) -> None:
    assert decode_client(encode_ask(question), AGREED) == question


@given(st.builds(Held, st.frozensets(st.integers(0, 255)), st.integers()))
def test_an_answer_reads_back_as_written(held: Held) -> None:
    assert decode_server(encode_held(held)) == held


@given(st.recursive(st.none() | st.booleans() | st.integers() | ANY_TEXT, st.lists, max_leaves=6))
def test_any_answer_is_read_to_numbers(held: object) -> None:
    signal = decode_server(json.dumps({"held": held, "n": held}))
    assert isinstance(signal, Held)
    assert all(type(entry) is int for entry in (*signal.entries, signal.number))


# The receiving role.


def receiver_of(
    size: int = 10, *, ask: bool = True, can: str = '["next", "ask"]'
) -> UploadReceiver:
    """The receiver of file 0, before its first signal."""
    receiver = UploadReceiver(frozenset({"next", "ask", "resume"}))
    receiver.receive_text(f'{{"name": "0", "size": {size}, "can": {can}}}')
    receiver.offer(LIMITS, ask=ask)
    return receiver


def ready(receiver: UploadReceiver) -> dict[str, Any]:
    granted = receiver.grant(10, 1)
    assert granted
    signal: dict[str, Any] = json.loads(receiver.ready(granted))
    return signal


def refused(receiver: UploadReceiver, reason: str) -> None:
    """The question is a violation, and changes nothing."""
    before = (receiver.state, receiver.received, receiver.window.outstanding)
    with pytest.raises(RemoteProtocolError, match=reason) as caught:
        receiver.receive_text(QUESTION)
    assert caught.value.code is FaultCode.BAD_MESSAGE
    assert (receiver.state, receiver.received, receiver.window.outstanding) == before


def test_a_question_is_taken_from_the_first_signal_on_up_to_the_first_chunk() -> None:
    receiver = receiver_of()
    assert receiver.receive_text(QUESTION) == Ignored()
    assert ready(receiver)["can"] == ["ask", "next"]
    for _ in range(2):
        assert receiver.receive_text(QUESTION) == Ask((ENTRY,), 1)
    receiver.receive_binary(3)
    refused(receiver, WITHIN)


def test_a_question_is_taken_before_the_end_of_an_empty_file_0() -> None:
    receiver = receiver_of(0)
    ready(receiver)
    assert receiver.receive_text(QUESTION) == Ask((ENTRY,), 1)
    receiver.receive_text('{"finished": true}')
    refused(receiver, WITHIN)


def test_an_empty_chunk_begins_file_0_too() -> None:
    receiver = receiver_of()
    ready(receiver)
    receiver.receive_binary(0)
    refused(receiver, WITHIN)


def test_a_question_is_taken_between_files_and_not_within_one() -> None:
    receiver = receiver_of(0)
    ready(receiver)
    receiver.receive_text('{"finished": true}')
    following = receiver.next()
    assert following.receive_text(QUESTION) == Ask((ENTRY,), 1)
    following.receive_text('{"name": "1", "size": 1000}')
    refused(following, WITHIN)
    ready(following)
    refused(following, WITHIN)
    following.receive_text('{"abandon": true, "file": 1}')
    following.fail(ABANDONED, continues=True)
    assert following.next().receive_text(QUESTION) == Ask((ENTRY,), 1)


def test_file_0_is_abandoned_behind_a_question_and_another_one_is_taken() -> None:
    receiver = receiver_of()
    ready(receiver)
    receiver.receive_text(QUESTION)
    receiver.receive_text('{"abandon": true}')
    receiver.fail(ABANDONED, continues=True)
    assert receiver.next().receive_text(QUESTION) == Ask((ENTRY,), 1)


@pytest.mark.parametrize(
    ("can", "ask"),
    [('["next", "ask"]', False), ('["next"]', True), ('["ask"]', True), ("[]", True), ("5", True)],
)
def test_ask_is_agreed_only_by_both_and_with_next(can: str, *, ask: bool) -> None:
    receiver = receiver_of(can=can, ask=ask)
    assert "ask" not in ready(receiver).get("can", [])
    assert receiver.receive_text(QUESTION) == Ignored()


def test_without_an_offer_neither_is_agreed() -> None:
    receiver = UploadReceiver(frozenset({"next", "ask"}))
    receiver.receive_text('{"name": "0", "size": 1, "can": ["next", "ask"]}')
    assert ready(receiver)["can"] == []


def test_a_server_without_next_does_not_agree_to_ask() -> None:
    receiver = UploadReceiver(AGREED)
    receiver.receive_text('{"name": "0", "size": 1, "can": ["next", "ask"]}')
    receiver.offer(LIMITS, ask=True)
    assert ready(receiver)["can"] == []


# The sending role.


def sender_of(size: int = 5, can: object = ("next", "ask"), **keys: object) -> FilesSender:
    """A connection on which file 0 has its first `ready`."""
    first = UploadSender(Metadata("0", size, can=frozenset({"next", "ask"})))
    core = FilesSender(first)
    first.start()
    assert not core.may_ask
    limits = {"next": 2, "whole": 100, "room": 150}
    core.receive_text(json.dumps({"ready": True, "can": can, **limits, **keys}))
    return core


def first_of(core: FilesSender) -> UploadSender:
    return core._first


def finish_first(core: FilesSender) -> None:
    first_of(core).chunk_sent(5)
    core.receive_text('{"ready": true}')
    first_of(core).finish()


def forbidden(core: FilesSender, entries: list[AskEntry] | None = None) -> None:
    """No question may be sent, and trying changes nothing."""
    if entries is None:
        assert not core.may_ask
    before = (core._question, core._asked)
    with pytest.raises(LocalProtocolError):
        core.ask([ENTRY] if entries is None else entries)
    assert (core._question, core._asked) == before


def test_questions_are_numbered_and_each_waits_for_the_answer_to_the_one_before() -> None:
    core = sender_of()
    assert core.has_ask
    assert core.ask([ENTRY]) == QUESTION
    forbidden(core)
    assert core.receive_text('{"held": [0], "n": 1}') == Held(frozenset({0}), 1)
    assert json.loads(core.ask([ENTRY]))["n"] == 2
    assert core.receive_text('{"held": [], "n": 2}') == Held(frozenset(), 2)


def test_an_answer_may_tell_where_the_files_are() -> None:
    answer = Held(frozenset({0, 2}), 1, {2: "june/a"})
    text = encode_held(answer)
    assert json.loads(text) == {"held": [0, 2], "paths": [None, "june/a"], "n": 1}
    core = sender_of()
    core.ask([ENTRY] * 3)
    assert core.receive_text(text) == answer


@pytest.mark.parametrize("paths", [["a"], ["a", "b", "c"], "ab", {"0": "a"}, None, [1, []]])
def test_paths_that_are_not_those_of_the_entries_are_not_known(paths: object) -> None:
    core = sender_of()
    core.ask([ENTRY] * 2)
    text = json.dumps({"held": [1, 0], "paths": paths, "n": 1})
    assert core.receive_text(text) == Held(frozenset({0, 1}), 1)


def test_an_answer_is_shorter_than_what_clients_accept() -> None:
    paths = dict.fromkeys(range(MAX_ASKED), "\N{SNOWMAN}" * 1000)
    text = encode_held(Held(frozenset(paths), 2**63 - 1, paths))
    assert len(text) < 64 * 1024
    told = json.loads(text)["paths"]
    assert told[:5] == ["\N{SNOWMAN}" * 1000] * 5
    assert (told[-1], len(told)) == (None, MAX_ASKED)


def test_a_question_has_at_least_one_and_at_most_256_entries() -> None:
    core = sender_of()
    for count in (0, MAX_ASKED + 1):
        forbidden(core, [ENTRY] * count)
    core.ask([ENTRY] * MAX_ASKED)


def test_a_question_is_sent_before_file_0_or_behind_it() -> None:
    core = sender_of(can=["next", "ask"])
    assert core.may_ask
    first_of(core).chunk_sent(3)
    forbidden(core)
    core.receive_text('{"ready": true}')
    first_of(core).chunk_sent(2)
    forbidden(core)
    core.receive_text('{"ready": true}')
    first_of(core).finish()
    core.ask([ENTRY])
    core.receive_text('{"close": true}')
    core.receive_text('{"held": [], "n": 1}')
    assert core.may_ask


def test_a_question_is_sent_before_the_end_of_an_empty_file_0() -> None:
    core = sender_of(0)
    assert core.may_ask
    first_of(core).finish()
    assert core.may_ask


def test_a_question_is_sent_between_files_and_not_within_one() -> None:
    core = sender_of()
    finish_first(core)
    core.send_whole(Metadata("1", 5), None)
    assert core.may_ask
    sender = core.begin(Metadata("2", 1000))
    forbidden(core)
    sender.start()
    forbidden(core)
    core.receive_text('{"error": "No.", "fatal": true, "file": 2, "next": true}')
    assert core.may_ask


def test_behind_an_abandoned_file_a_question_waits_for_its_answer() -> None:
    core = sender_of()
    core.ask([ENTRY])
    core.receive_text('{"held": [0], "n": 1}')
    first_of(core).abandon()
    forbidden(core)
    core.receive_text('{"error": "Gone.", "fatal": true, "next": true}')
    assert core.may_ask


@pytest.mark.parametrize(
    "text", ['{"last": true}', '{"error": "No.", "fatal": true}'], ids=["last", "fatal"]
)
def test_no_question_is_sent_where_no_more_files_are_taken(text: str) -> None:
    core = sender_of()
    core.receive_text(text)
    forbidden(core)


@pytest.mark.parametrize("can", [["next"], ["ask"], [], None], ids=str)
def test_without_agreement_no_question_is_sent_and_an_answer_is_unknown(can: object) -> None:
    core = sender_of(can=can)
    assert not core.has_ask
    forbidden(core)
    assert core.receive_text('{"held": [0], "n": 1}') == Ignored()


@pytest.mark.parametrize(
    "text",
    [
        '{"held": [1], "n": 1}',
        '{"held": [-1], "n": 1}',
        '{"held": [true], "n": 1}',
        '{"held": 0, "n": 1}',
        '{"held": [0], "n": 2}',
        '{"held": [0], "n": "1"}',
        '{"held": [0]}',
    ],
)
def test_an_answer_that_is_none_to_the_question_is_a_violation(text: str) -> None:
    core = sender_of()
    core.ask([ENTRY])
    with pytest.raises(RemoteProtocolError) as caught:
        core.receive_text(text)
    assert caught.value.code is FaultCode.BAD_MESSAGE
    assert not core.may_ask
    core.receive_text('{"held": [0], "n": 1}')


def test_an_answer_without_a_question_is_a_violation() -> None:
    core = sender_of()
    with pytest.raises(RemoteProtocolError):
        core.receive_text('{"held": [], "n": 0}')
