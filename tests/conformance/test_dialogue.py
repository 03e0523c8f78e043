"""The rules of a dialogue find each violation, and none in the dialogue of two correct peers."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from galileod.conformance.dialogue import Dialogue
from galileod.conformance.dialogue_state import Keys
from galileod.conformance.events import Message
from galileod.protocol.messages import HashClaim, Metadata, Resumption
from galileod.protocol.receiver import UploadReceiver
from galileod.protocol.sender import ChunkDue, UploadSender
from galileod.protocol.states import ReceiverState, SenderState

CONTENT = bytes(range(256)) * 4
KEY = "00112233445566778899AABBCCDDEEFF"
METADATA = {"name": "a", "size": len(CONTENT)}
RESUMABLE = {**METADATA, "can": ["resume"], "upload": KEY}
READY = {"ready": True, "chunksize": 1000}
FIRST = {"ready": True, "chunksize": 24, "can": ["resume"], "offset": 1000, "keep": 60}
FINISHED = {"finished": True}
FATAL = {"error": "x", "code": "idle", "fatal": 1}
SHA1 = hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()


def text(signal: dict[str, Any] | bytes) -> Message:
    data = signal if isinstance(signal, bytes) else json.dumps(signal).encode()
    return Message(Opcode.TEXT, data)


def binary(data: bytes) -> Message:
    return Message(Opcode.BINARY, data)


def play(*lines: tuple[str, Any], content: bytes | None = CONTENT) -> list[str]:
    """The requirements that are violated by lines of "C" or "S" and a message."""
    dialogue = Dialogue("both", content)
    return run(dialogue, *lines)


def run(dialogue: Dialogue, *lines: tuple[str, Any]) -> list[str]:
    found = []
    for speaker, said in lines:
        message = said if isinstance(said, Message) else text(said)
        say = dialogue.server if speaker == "S" else dialogue.client
        found += [requirement for requirement, _ in say(message)]
    return found


WHOLE = (
    ("C", METADATA),
    ("S", READY),
    ("S", {"ready": True, "chunksize": 24}),
    ("C", binary(CONTENT[:1000])),
    ("C", binary(CONTENT[1000:])),
    ("S", {"ready": True}),
    ("C", {"finished": True, "hash": {"type": "SHA1", "value": SHA1.upper()}}),
)


def test_a_correct_dialogue_has_no_violation() -> None:
    assert play(*WHOLE, ("S", {"close": True})) == []


def test_an_upload_that_is_resumed_has_no_violation() -> None:
    keys = Keys()
    first = Dialogue("both", CONTENT, keys)
    begin = {"ready": True, "chunksize": 1000, "can": ["resume"], "offset": 0, "keep": 60}
    assert run(first, ("C", RESUMABLE), ("S", begin), ("C", binary(CONTENT[:1000]))) == []
    second = Dialogue("both", CONTENT, keys)
    rest = (("C", binary(CONTENT[1000:])), ("S", {"ready": True}), ("C", FINISHED))
    assert run(second, ("C", RESUMABLE), ("S", FIRST), *rest, ("S", {"close": True})) == []
    third = Dialogue("both", CONTENT, keys)
    assert run(third, ("C", RESUMABLE), ("S", {"close": True, "can": ["resume"]})) == []


@pytest.mark.parametrize(
    ("requirement", "lines"),
    [
        ("S1.1", [("S", b"[]")]),
        ("S1.1", [("S", '{"ready": true}'.encode("utf-16"))]),
        ("S1.1", [("S", b'{"ready": "\xff"}')]),
        ("S1.5", [("C", METADATA), ("S", binary(b"x"))]),
        ("S1.6", [("C", METADATA), ("S", {"ready": True, "error": "x", "code": "idle"})]),
        ("S2.1", [("S", READY)]),
        ("S3.1", [("C", METADATA), ("S", READY), ("S", READY)]),
        ("S3.6", [("C", METADATA), ("S", {"ready": True, "chunksize": 1.0})]),
        ("S3.6", [("C", METADATA), ("S", {"ready": True, "chunksize": -1})]),
        ("S4.2", [("C", METADATA), ("S", READY), ("S", {"close": True})]),
        ("S4.2", [*WHOLE[:-1], ("S", {"close": True})]),
        ("S4.2", [("C", RESUMABLE), ("S", {**FIRST, "offset": 0}), ("S", {"close": True})]),
        ("S4.12", [*WHOLE, ("S", {"close": True}), ("S", {"close": True})]),
        ("S5.2", [("C", METADATA), ("S", FATAL), ("S", READY)]),
        ("S1.6", [("C", METADATA), ("S", {"ready": True, "error": {}, "code": "idle"})]),
        ("S5.2", [("C", METADATA), ("S", {"error": [], "fatal": True}), ("S", READY)]),
        ("S5.3", [("C", METADATA), ("S", {"error": 7, "code": "idle"})]),
        ("S5.3", [("C", METADATA), ("S", {"error": "x"})]),
        ("S5.4", [("C", METADATA), ("S", {"error": "x", "code": "idle", "fatal": "no"})]),
        ("S7.3", [*WHOLE, ("S", {"close": True, "name": "a/b"})]),
        ("S7.3", [*WHOLE, ("S", {"close": True, "name": "a\nb"})]),
        ("S8.1", [("C", RESUMABLE), ("S", {**READY, "can": "resume"})]),
        ("S8.2", [("C", METADATA), ("S", {**READY, "offset": 0})]),
        ("S8.2", [("C", {**METADATA, "can": "resume"}), ("S", {**READY, "can": []})]),
        ("S8.3", [("C", RESUMABLE), ("S", {**FIRST, "offset": 0, "can": ["resume", "next"]})]),
        ("S8.5", [("C", RESUMABLE), ("S", {**FIRST, "offset": 0, "upload": KEY.lower()})]),
        ("S8.8", [("C", RESUMABLE), ("S", {**READY, "can": ["resume"], "keep": 60})]),
        ("S8.8", [("C", RESUMABLE), ("S", {**FIRST, "offset": 1025})]),
        ("S8.8", [("C", RESUMABLE), ("S", {**FIRST, "offset": 0, "keep": True})]),
        ("S8.9", [("C", RESUMABLE), ("S", FIRST)]),
        ("S8.17", [("C", RESUMABLE), ("S", {"error": "x", "code": "idle", "kept": "1"})]),
        ("C1.1", [("C", b"name")]),
        ("C1.8", [("C", METADATA), ("S", READY), ("C", {"abandon": True})]),
        ("C1.8", [("C", METADATA), ("S", READY), ("C", {"ask": []})]),
        ("C2.1", [("C", FINISHED)]),
        ("C2.1", [("C", binary(b""))]),
        ("C2.1", [("C", {"name": "a", "size": True})]),
        ("C2.1", [("C", {"name": "a", "size": 2**63})]),
        ("C2.2", [("C", {"name": "a", "size": 1})]),
        ("C2.3", [("C", METADATA), ("S", READY), ("C", METADATA)]),
        ("C2.4", [("C", {**METADATA, "directory": "/"})]),
        ("C2.6", [("C", {**METADATA, "folder": ["june"]})]),
        ("C2.6", [("C", {**METADATA, "modified": 1.5})]),
        ("C2.5", [("C", METADATA), ("C", binary(CONTENT[:1]))]),
        ("C3.1", [*WHOLE[:2], ("C", binary(CONTENT[:1000])), ("C", binary(CONTENT[1000:]))]),
        ("C3.2", [*WHOLE[:2], ("C", binary(CONTENT[:1001]))]),
        ("C3.4", [*WHOLE[:2], ("C", binary(CONTENT[1:1001]))]),
        ("C3.6", [*WHOLE[:2], ("C", binary(b""))]),
        ("C3.7", [*WHOLE[:2], ("C", binary(CONTENT[:999]))]),
        ("C4.1", [*WHOLE[:4], ("C", FINISHED)]),
        ("C4.1", [*WHOLE[:5], ("C", FINISHED)]),
        ("C4.2", [*WHOLE[:-1], ("C", {"finished": True, "hash": {"type": "sha1", "value": "00"}})]),
        ("C4.2", [*WHOLE[:-1], ("C", {"finished": True, "hash": SHA1})]),
        ("C4.3", [*WHOLE, ("C", binary(b"x"))]),
        ("C8.2", [("C", {**METADATA, "can": ["resume"]})]),
        ("C8.2", [("C", {**RESUMABLE, "upload": "x" * 32})]),
    ],
)  # fmt: skip
def test_a_violation_is_found(requirement: str, lines: list[tuple[str, Any]]) -> None:
    assert requirement not in play(*lines[:-1])
    assert requirement in play(*lines)


def test_a_chunk_without_chunksize_has_at_most_what_old_servers_take() -> None:
    content = bytes(262_145)
    lines = ("C", {"name": "a", "size": 262_145}), ("S", {"ready": True}), ("C", binary(content))
    assert play(*lines, content=content) == ["C3.3"]


def test_the_hash_after_an_offset_is_that_of_the_whole_file() -> None:
    keys = Keys()
    keys.begin(KEY, RESUMABLE).reached = 1000
    rest = hashlib.sha1(CONTENT[1000:], usedforsecurity=False).hexdigest()
    dialogue = Dialogue("both", CONTENT, keys)
    lines = ("C", RESUMABLE), ("S", FIRST), ("C", binary(CONTENT[1000:])), ("S", {"ready": True})
    assert run(dialogue, *lines) == []
    wrong = {"finished": True, "hash": {"type": "sha1", "value": rest}}
    assert run(dialogue, ("C", wrong)) == ["C8.11"]


def test_a_part_of_a_chunk_may_have_arrived_before_the_connection_was_lost() -> None:
    keys = Keys()
    begin = {"ready": True, "chunksize": 10, "can": ["resume"], "offset": 0, "keep": 60}
    lines = ("C", RESUMABLE), ("S", begin), ("C", binary(CONTENT[:10])), ("S", {"ready": True})
    assert run(Dialogue("both", CONTENT, keys), *lines) == []
    most = 10 + 262_144
    again = {"ready": True, "can": ["resume"], "keep": 60}
    assert keys.find(KEY) is not None
    large = {**RESUMABLE, "size": most + 10}
    at_most = ("C", large), ("S", {**again, "offset": most})
    assert run(Dialogue("server", None, keys), *at_most) == []
    beyond = ("C", large), ("S", {**again, "offset": most + 1})
    assert run(Dialogue("server", None, keys), *beyond) == ["S8.9"]


def test_a_key_belongs_to_one_file() -> None:
    keys = Keys()
    assert run(Dialogue("client", None, keys), ("C", RESUMABLE)) == []
    assert run(Dialogue("client", None, keys), ("C", {**RESUMABLE, "name": "b"})) == ["C8.2"]


def test_a_signal_without_name_and_size_is_no_metadata() -> None:
    dialogue = Dialogue("server", CONTENT)

    assert run(dialogue, ("C", {"unknown": True}), *WHOLE, ("S", {"close": True})) == []


def test_only_the_observed_peer_is_judged() -> None:
    assert run(Dialogue("client"), ("S", READY), ("C", METADATA)) == []
    assert run(Dialogue("server"), ("C", FINISHED)) == []


class Pair:
    """galileod's two roles, whose messages wait on the way, watched by the rules."""

    def __init__(self, content: bytes, offset: int | None, chunk: int, in_flight: int) -> None:
        self.content, self.offset, self.chunk, self.in_flight = content, offset, chunk, in_flight
        can, key = (frozenset({"resume"}), KEY.lower()) if offset is not None else (None, None)
        self.sender = UploadSender(Metadata("a", len(content), can=can, upload=key))
        self.receiver = UploadReceiver(frozenset({"resume"}))
        self.dialogue = Dialogue("both", content)
        self.to_server: list[Message] = []
        self.to_client: list[str] = []
        self.found: list[tuple[str, str]] = []
        self.client_sends(text(self.sender.start().encode()))
        if offset is not None:
            self.dialogue.keys.begin(KEY, {}).reached = offset

    def client_sends(self, message: Message) -> None:
        self.found += self.dialogue.client(message)
        self.to_server.append(message)

    def server_receives(self) -> None:
        message = self.to_server.pop(0)
        if message.opcode == Opcode.BINARY:
            self.receiver.receive_binary(len(message.data))
        else:
            signal = self.receiver.receive_text(message.data.decode())
            if isinstance(signal, Metadata) and self.offset is not None:
                self.receiver.resume(Resumption(self.offset, 60, None))
        answers = []
        while granted := self.receiver.grant(self.chunk, self.in_flight):
            answers.append(self.receiver.ready(granted))
        if self.receiver.state is ReceiverState.VERIFYING:
            answers.append(self.receiver.close("b"))
        for answer in answers:
            self.found += self.dialogue.server(text(answer.encode()))
        self.to_client += answers

    def client_receives(self) -> None:
        self.sender.receive_text(self.to_client.pop(0))
        while due := self.sender.next_due():
            if isinstance(due, ChunkDue):
                self.sender.chunk_sent(due.length)
                self.client_sends(binary(self.content[due.offset : due.offset + due.length]))
            else:
                sha1 = hashlib.sha1(self.content, usedforsecurity=False).hexdigest()
                self.client_sends(text(self.sender.finish(HashClaim("sha1", sha1)).encode()))


@given(
    size=st.integers(0, 300),
    part=st.none() | st.integers(0, 300),
    chunk=st.integers(1, 100),
    in_flight=st.integers(1, 5),
    turns=st.lists(st.booleans()),
)
def test_correct_peers_are_never_taken_for_wrong_however_their_messages_cross(
    size: int, part: int | None, chunk: int, in_flight: int, turns: list[bool]
) -> None:
    content = bytes(i % 251 for i in range(size))
    offset = None if part is None else min(part, size)
    pair = Pair(content, offset, chunk, in_flight)
    while pair.sender.state is not SenderState.STORED:
        assert pair.to_server or pair.to_client, "both peers wait"
        if pair.to_server and (not pair.to_client or not turns or turns.pop()):
            pair.server_receives()
        else:
            pair.client_receives()
    assert pair.found == []


def test_a_signal_that_nobody_knows_is_not_the_first_one_and_permitted_until_close() -> None:
    done = {"close": True, "can": ["resume"]}
    first = {**FIRST, "offset": 0}
    assert play(("C", RESUMABLE), ("S", {"x": 1}), ("S", first), ("S", {"x": 1})) == []
    assert play(("C", RESUMABLE), ("S", {"x": 1}), ("S", done)) == []
    assert play(("C", RESUMABLE), ("S", done), ("S", {"x": 1})) == ["S4.12"]


def test_a_warning_that_is_the_first_signal_states_what_is_agreed() -> None:
    warning = {"error": "slow", "code": "busy", "can": ["resume"]}
    ready = {key: value for key, value in FIRST.items() if key != "can"}
    without = {key: value for key, value in ready.items() if key != "offset"}
    rest = ("C", binary(CONTENT[1000:]))
    keys = Keys()
    sent = ("C", RESUMABLE), ("S", warning), ("S", {**ready, "offset": 0}), ("C", binary(CONTENT))
    assert run(Dialogue("server", CONTENT, keys), *sent) == []
    again = Dialogue("both", CONTENT, keys)
    assert run(again, ("C", RESUMABLE), ("S", warning), ("S", ready), rest) == []
    assert play(("C", RESUMABLE), ("S", warning), ("S", without)) == ["S8.8"]
