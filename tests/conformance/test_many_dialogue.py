"""The rules for many files on one connection find each violation, and none where there is none."""

from typing import Any

import pytest
from conformance.test_dialogue import FATAL, FINISHED, binary, run

from galileod.conformance.dialogue import Dialogue

Lines = list[tuple[str, Any]]

LIMITS = {"next": 2, "whole": 10, "room": 15}
CAN = ["next", "ask"]
READY = {"ready": True, "chunksize": 5, "can": CAN, **LIMITS}
FILE_0: Lines = [
    ("C", {"name": "a", "size": 5, "can": CAN}),
    ("S", READY),
    ("C", binary(b"01234")),
    ("S", {"ready": True}),
    ("C", FINISHED),
]
SMALL: Lines = [("C", {"name": "b", "size": 9}), ("C", binary(b"012345678")), ("C", FINISHED)]
EMPTY: Lines = [("C", {"name": "c", "size": 0}), ("C", FINISHED)]
LARGE: Lines = [("C", {"name": "d", "size": 20})]
HALF: Lines = [("S", {"ready": True, "chunksize": 10, "file": 1}), ("C", binary(bytes(10)))]
ENTRY = {"name": "a", "size": 5, "modified": 1}
LAST = ("S", {"last": True})
QUESTION = {"ask": [ENTRY], "n": 7}


def failed(number: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {"error": "x", "code": "conflict", "fatal": True, "file": number, **more}


def play(*lines: tuple[str, Any]) -> list[str]:
    return run(Dialogue("both"), *lines)


def closed(number: int) -> tuple[str, Any]:
    return ("S", {"close": True, "file": number} if number else {"close": True})


def test_answers_in_any_order_have_no_violation() -> None:
    lines = [*FILE_0, *SMALL, *EMPTY, closed(2), closed(0), closed(1), *LARGE]
    large: Lines = [
        ("S", {"ready": True, "chunksize": 15, "file": 3}),
        ("S", {"ready": True, "chunksize": 5, "file": 3}),
        ("C", binary(bytes(15))),
        ("C", binary(bytes(5))),
        ("C", FINISHED),
    ]
    assert play(*lines, *large, ("C", QUESTION), closed(3), ("S", {"held": [0], "n": 7})) == []


def test_a_file_that_failed_ends_alone() -> None:
    lines = [*FILE_0, *LARGE, *HALF, ("S", failed(1, next=True)), ("C", binary(bytes(10)))]
    assert play(*lines, ("C", FINISHED), *SMALL, closed(2), closed(0)) == []


def test_a_limit_that_was_raised_may_not_have_been_read() -> None:
    raised = ("S", {**LIMITS, "whole": 30, "room": 30, "close": True})
    large: Lines = [*LARGE, ("S", {"ready": True, "file": 1})]
    assert play(*FILE_0, raised, *large, ("C", binary(bytes(20))), ("C", FINISHED)) == []
    whole: Lines = [*LARGE, ("C", binary(bytes(20))), ("C", FINISHED)]
    assert play(*FILE_0, raised, *whole, ("S", {"ready": True, "file": 1}), closed(1)) == []


def test_metadata_may_cross_last() -> None:
    assert play(*FILE_0, ("S", {"last": True}), *SMALL) == []
    assert (
        play(*FILE_0, *LARGE, *HALF, ("S", {"last": True}), ("S", failed(1, next=True)), *SMALL)
        == []
    )


def test_a_question_may_come_before_the_first_byte_of_file_0() -> None:
    held = ("S", {"held": [0], "n": 7})
    abandoned = ("S", {"error": "x", "code": "abandoned", "fatal": True, "next": True})
    assert (
        play(*FILE_0[:2], ("C", QUESTION), held, ("C", {"abandon": True}), abandoned, *SMALL) == []
    )


def test_a_resumed_file_begins_at_its_offset() -> None:
    key = "0" * 32
    can = {"can": ["next", "resume"]}
    first = [
        ("C", {"name": "a", "size": 0, "upload": key, **can}),
        ("S", {"ready": True, "offset": 0, "keep": 9, **can, **LIMITS}),
        ("C", FINISHED),
        ("C", {"name": "d", "size": 20, "upload": "1" * 32}),
    ]
    part = ("S", {"ready": True, "chunksize": 5, "file": 1, "offset": 15})
    assert play(*first, part, ("C", binary(bytes(5))), ("C", FINISHED), closed(1)) == []
    assert play(*first, ("S", {"ready": True, "file": 1, "offset": 20}), ("C", FINISHED)) == []
    assert play(*first, closed(1)) == []


@pytest.mark.parametrize(
    ("requirement", "lines"),
    [
        ("S9.1", [FILE_0[0], ("S", {"ready": True, "can": CAN, "next": 1, "whole": 0})]),
        ("S9.1", [FILE_0[0], ("S", {**READY, "next": 0})]),
        ("S9.1", [FILE_0[0], ("S", {**READY, "whole": 16})]),
        ("S9.1", [*FILE_0, ("S", {"close": True, "room": "16"})]),
        ("S9.2", [*FILE_0, ("S", {"close": True, "file": 1})]),
        ("S9.2", [*FILE_0, closed(0), *SMALL, closed(0)]),
        ("S9.2", [*FILE_0, *SMALL, ("S", {"close": True, "file": True})]),
        ("S9.4", [*FILE_0, *SMALL, ("S", {"ready": True, "file": 1})]),
        ("S9.4", [*FILE_0, *EMPTY, ("S", {"ready": True, "file": 1})]),
        ("S9.5", [*FILE_0, *LARGE, *HALF, HALF[0], HALF[1], ("S", {"ready": True, "file": 1})]),
        ("S9.6", [*FILE_0, ("S", {"close": True, "next": 1})]),
        ("S5.2", [*FILE_0, *SMALL, ("S", failed(1)), closed(0)]),
        ("S5.2", [*FILE_0, *SMALL, ("S", failed(1, next=True)), closed(1)]),
        ("S4.12", [*FILE_0, *SMALL, closed(1), closed(1)]),
        ("S4.2", [*FILE_0, *SMALL[:2], closed(1)]),
        ("S3.6", [*FILE_0, *LARGE, ("S", {"ready": True, "file": 1, "chunksize": 1.5})]),
        ("S3.1", [*FILE_0, *LARGE, HALF[0], HALF[0], HALF[0]]),
        ("S3.1", [*FILE_0[:2], ("S", {"ready": True, "chunksize": 5})]),
        ("S10.1", [*FILE_0, ("S", {"held": [], "n": 7})]),
        ("S10.1", [*FILE_0, ("C", QUESTION), ("S", {"held": [1], "n": 7})]),
        ("S10.1", [*FILE_0, ("C", QUESTION), ("S", {"held": [], "n": 8})]),
        ("C9.1", [*FILE_0[:2], SMALL[0]]),
        ("C9.1", [*FILE_0, *SMALL[:2], EMPTY[0]]),
        ("C9.2", [*FILE_0, *EMPTY, *EMPTY, EMPTY[0]]),
        ("C9.2", [*FILE_0, *SMALL, SMALL[0]]),
        ("C9.3", [*FILE_0, *LARGE, ("C", binary(bytes(5)))]),
        ("C9.3", [*FILE_0, SMALL[0], ("C", binary(bytes(5)))]),
        ("C9.4", [*FILE_0, EMPTY[0], ("C", binary(b""))]),
        ("C9.6", [*FILE_0, *SMALL, ("C", FINISHED)]),
        ("C9.6", [*FILE_0, *SMALL, ("C", binary(b""))]),
        ("C9.10", [*FILE_0, *LARGE, LAST, *HALF, *HALF, ("C", FINISHED), EMPTY[0]]),
        ("C1.1", [*FILE_0, ("C", b"[]")]),
        ("C1.8", [*FILE_0, ("C", {"hello": 1})]),
        ("C2.1", [*FILE_0, ("C", {"name": "b", "size": -1})]),
        ("C3.1", [*FILE_0, *LARGE, *HALF, ("C", binary(bytes(10)))]),
        ("C3.2", [*FILE_0, *LARGE, HALF[0], ("C", binary(bytes(11)))]),
        ("C4.1", [*FILE_0, SMALL[0], ("C", FINISHED)]),
        ("C4.2", [*FILE_0, EMPTY[0], ("C", {"finished": True, "hash": "x"})]),
        ("C10.1", [*FILE_0, *LARGE, ("C", QUESTION)]),
        ("C10.1", [*FILE_0[:3], ("C", QUESTION)]),
        ("C10.2", [*FILE_0, ("C", {**QUESTION, "ask": []})]),
        ("C10.2", [*FILE_0, ("C", {**QUESTION, "ask": [{"name": "a", "size": 5}]})]),
        ("C10.2", [*FILE_0, ("C", {**QUESTION, "n": "7"})]),
        ("C10.2", [*FILE_0, ("C", {**QUESTION, "ask": [ENTRY] * 257})]),
        ("C10.3", [*FILE_0, ("C", QUESTION), ("C", QUESTION)]),
        ("C10.5", [*FILE_0, ("C", {**QUESTION, "ask": [{**ENTRY, "name": "a" * 200}] * 100})]),
    ],
)  # fmt: skip
def test_a_violation_is_found(requirement: str, lines: Lines) -> None:
    assert play(*lines[:-1]) == []
    assert requirement in play(*lines)


def test_a_question_needs_its_agreement() -> None:
    first: Lines = [
        ("C", {"name": "a", "size": 0, "can": ["next"]}),
        ("S", {**READY, "chunksize": 0, "can": ["next"]}),
        ("C", FINISHED),
    ]
    assert play(*first, ("C", QUESTION)) == ["C10.1"]
    assert play(*first, ("S", {"held": [], "n": 7})) == ["S10.5"]
    classic: Lines = [("C", {"name": "a", "size": 0}), ("S", {"ready": True})]
    assert play(*classic, ("C", QUESTION)) == ["C1.8", "C10.1"]


def test_an_error_that_ends_the_connection_states_no_limits() -> None:
    assert play(FILE_0[0], ("S", {**FATAL, "can": CAN})) == []
    assert play(FILE_0[0], ("S", {**FATAL, "can": CAN, "next": True})) == ["S9.1"]
