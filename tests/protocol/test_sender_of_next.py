"""The sending role of a connection with many files, step by step."""

import json
from typing import Any

import pytest

from galileod.protocol.errors import LocalProtocolError, RemoteProtocolError
from galileod.protocol.files_sender import FilesSender
from galileod.protocol.messages import Close, Error, HashClaim, Last, Limits, Metadata, Ready
from galileod.protocol.sender import ChunkDue, FinishedDue, UploadSender
from galileod.protocol.states import SenderState

CAN = frozenset({"next", "resume"})
KEY = "0123456789abcdef" * 2
LIMITS = {"next": 2, "whole": 100, "room": 150}


def signal(**keys: object) -> str:
    return json.dumps(keys)


def agreed(**more: object) -> FilesSender:
    """A connection on which file 0 is finished."""
    first = UploadSender(Metadata("0", 5, can=CAN, upload=KEY))
    core = FilesSender(first)
    first.start()
    keys = {"can": ["next"], **LIMITS, **more}
    core.receive_text(signal(ready=True, **keys))
    first.chunk_sent(5)
    core.receive_text(signal(ready=True))
    first.finish()
    return core


def facts(core: FilesSender) -> tuple[object, ...]:
    return core.open, core.places, core.room, core.takes_more, core.ended


def refused(core: FilesSender, text: str) -> None:
    """It is a violation, and changes nothing."""
    before = facts(core)
    with pytest.raises(RemoteProtocolError):
        core.receive_text(text)
    assert facts(core) == before


def forbidden(core: FilesSender, size: int) -> None:
    """No file of this size may begin, and trying changes nothing."""
    assert not core.fits(size)
    before = facts(core)
    for begin in (core.begin, lambda metadata: core.send_whole(metadata, None)):
        with pytest.raises(LocalProtocolError):
            begin(Metadata("x", size))
    assert facts(core) == before


def test_a_whole_file_is_its_metadata_and_finished() -> None:
    core = agreed()
    assert core.limits == Limits(**LIMITS)
    number, begin, end = core.send_whole(Metadata("a", 100), HashClaim("sha1", "ab"))
    assert number == 1
    assert json.loads(begin) == {"name": "a", "size": 100}
    assert json.loads(end) == {"finished": True, "hash": {"type": "sha1", "value": "ab"}}
    assert (core.places, core.room) == (1, 50)
    assert core.receive_text(signal(close=True, file=1)) == Close(file=1)
    assert (core.places, core.room) == (2, 150)
    assert core.open == {0}


def test_a_whole_file_may_also_be_sent_step_by_step() -> None:
    core = agreed()
    sender = core.begin(Metadata("a", 100))
    sender.start()
    assert sender.next_due() == ChunkDue(0, 100)
    forbidden(core, 1)
    sender.chunk_sent(100)
    assert sender.next_due() == FinishedDue()
    sender.finish()
    assert sender.next_due() is None
    assert core.fits(50)
    assert not core.fits(51)


def test_a_larger_file_waits_for_its_ready_and_finished_does_not() -> None:
    core = agreed()
    sender = core.begin(Metadata("a", 101))
    assert sender.start() == signal(name="a", size=101)
    assert sender.next_due() is None
    core.receive_text(signal(ready=True, chunksize=60, file=1))
    assert sender.next_due() == ChunkDue(0, 60)
    sender.chunk_sent(60)
    assert sender.next_due() is None
    core.receive_text(signal(ready=True, chunksize=60, file=1))
    sender.chunk_sent(41)
    sender.finish()
    assert core.room == 150


def test_a_ready_for_a_file_that_is_finished_or_answered_is_left_unanswered() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    for file in (0, 1):
        assert core.receive_text(signal(ready=True, file=file)) == Ready(file=file)
    core.receive_text(signal(close=True, file=1))
    core.receive_text(signal(close=True))
    for file in (0, 1):
        core.receive_text(signal(ready=True, file=file))
    assert not core.open


def test_the_limits_are_kept() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 90), None)
    forbidden(core, 61)
    core.send_whole(Metadata("b", 60), None)
    forbidden(core, 0)
    forbidden(core, 1000)
    core.receive_text(signal(close=True, file=2))
    assert core.fits(60)
    assert core.fits(1000)


def test_no_file_begins_within_another_one() -> None:
    core = agreed()
    sender = core.begin(Metadata("a", 1000))
    sender.start()
    forbidden(core, 0)
    core.receive_text(signal(error="No.", fatal=True, file=1, next=True))
    assert sender.state is SenderState.FAILED
    assert core.fits(0)


def test_a_refused_file_ends_alone() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    error = core.receive_text(signal(error="No.", fatal=True, file=1, next=1))
    assert isinstance(error, Error)
    assert error.continues
    assert not core.ended
    assert core.open == {0}


@pytest.mark.parametrize("file", [{}, {"file": 1}, {"file": 9}])
def test_a_fatal_error_without_next_ends_the_connection(file: dict[str, int]) -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    core.receive_text(signal(error="No.", fatal=True, **file))
    assert core.ended
    assert not core.takes_more
    forbidden(core, 0)


def test_behind_last_no_file_begins_and_answers_still_come() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    assert core.receive_text(signal(last=True)) == Last()
    forbidden(core, 0)
    core.receive_text(signal(close=True, file=1))
    assert core.open == {0}


def test_signals_about_files_that_are_not_open_are_violations() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    core.receive_text(signal(close=True, file=1))
    for file in (1, 2, -1, "x"):
        refused(core, signal(close=True, file=file))
        refused(core, signal(error="No.", fatal=True, next=True, file=file))
    refused(core, signal(ready=True, file=2))
    core.receive_text(signal(error="Careful.", file=1))


def test_a_close_before_the_larger_file_is_sent_is_a_violation() -> None:
    core = agreed()
    core.begin(Metadata("a", 1000)).start()
    refused(core, signal(close=True, file=1))


def test_a_larger_file_continues_where_the_server_has_it() -> None:
    core = agreed(can=["next", "resume"], offset=0, keep=5)
    sender = core.begin(Metadata("a", 1000, upload=KEY))
    sender.start()
    refused(core, signal(ready=True, file=1))
    refused(core, signal(ready=True, file=1, offset=1001))
    core.receive_text(signal(ready=True, file=1, offset=400, keep=5))
    assert sender.resumption
    assert sender.resumption.offset == 400
    assert sender.next_due() == ChunkDue(400, 600)


def test_a_file_that_is_stored_already_is_closed_at_once() -> None:
    core = agreed(can=["next", "resume"], offset=0, keep=5)
    sender = core.begin(Metadata("a", 1000, upload=KEY))
    sender.start()
    core.receive_text(signal(close=True, file=1))
    assert sender.state is SenderState.STORED


def test_a_file_is_abandoned_by_its_number_and_blocks_until_it_is_answered() -> None:
    core = agreed()
    sender = core.begin(Metadata("a", 1000))
    sender.start()
    assert json.loads(sender.abandon()) == {"abandon": True, "file": 1}
    forbidden(core, 0)
    core.receive_text(signal(ready=True, file=1))
    assert sender.next_due() is None
    core.receive_text(signal(error="Gone.", fatal=True, code="abandoned", file=1, next=True))
    assert core.fits(0)


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"can": []}, {"can": ["resume"]}, {"can": ["next"], "whole": 1, "room": 1},
        {"can": ["next"], "next": 0, "whole": 1, "room": 1},
        {"can": ["next"], "next": 1, "whole": 2, "room": 1},
        {"can": ["next"], "next": 1, "whole": True, "room": 1},
    ],
    ids=str,
)  # fmt: skip
def test_without_valid_limits_there_is_one_file(keys: dict[str, Any]) -> None:
    first = UploadSender(Metadata("0", 0, can=CAN))
    core = FilesSender(first)
    first.start()
    core.receive_text(signal(ready=True, **keys))
    first.finish()
    assert core.limits is None
    forbidden(core, 0)
    # The key `file` is not known then, and `next` is not either.
    core.receive_text(signal(error="No.", fatal=True, next=True, file=7))
    assert first.state is SenderState.FAILED
    assert core.ended


def test_file_0_may_fail_alone_with_the_first_signal() -> None:
    first = UploadSender(Metadata("0", 5, can=CAN))
    core = FilesSender(first)
    first.start()
    keys = {"can": ["next"], **LIMITS}
    core.receive_text(signal(error="No.", fatal=True, **keys))
    assert not core.ended
    assert core.fits(100)


def test_raised_limits_are_ignored() -> None:
    core = agreed()
    core.send_whole(Metadata("a", 1), None)
    core.receive_text(signal(close=True, file=1, can=["next"], next=9, whole=999, room=9999))
    core.receive_text(signal(ready=True, file=1, next=9, whole=999, room=9999))
    assert core.limits == Limits(**LIMITS)
    assert not core.is_whole(101)
