import itertools

from websockets.frames import Opcode

from galileod.conformance.transcript import (
    MAX_CHARACTERS,
    MAX_ENTRIES,
    MAX_TEXT,
    Transcript,
    show,
)


def test_each_entry_has_its_time_connection_and_direction() -> None:
    times = itertools.count(100, 0.5)
    transcript = Transcript(lambda: next(times))
    transcript.sent(1, "TEXT a")
    transcript.received(2, "TEXT b")
    transcript.note("the server is killed")
    assert str(transcript).splitlines() == [
        "   0.500  1 -> TEXT a",
        "   1.000  2 <- TEXT b",
        "   1.500  # the server is killed",
    ]


def test_text_is_shown_whole_up_to_a_limit() -> None:
    assert show(Opcode.TEXT, b"x" * MAX_TEXT) == "x" * MAX_TEXT
    assert show(Opcode.TEXT, b"x" * (MAX_TEXT + 1)) == "x" * MAX_TEXT + f"… ({MAX_TEXT + 1} bytes)"


def test_of_binary_the_length_and_the_first_bytes_are_shown() -> None:
    assert show(Opcode.BINARY, b"") == "0 bytes"
    assert show(Opcode.BINARY, b"\x00\xff") == "2 bytes: 00 ff"
    assert show(Opcode.BINARY, bytes(100)) == "100 bytes: " + " ".join(["00"] * 16) + "…"


def test_control_characters_and_invalid_utf_8_are_escaped() -> None:
    assert show(Opcode.TEXT, b'\x1b[2J\r\n\xff "\xc3\xa4"') == '\\u001b[2J\\r\\n\\xff "ä"'


def test_entries_beyond_the_limit_are_counted() -> None:
    transcript = Transcript(lambda: 0.0)
    for _ in range(MAX_ENTRIES + 7):
        transcript.sent(1, "x")
    lines = str(transcript).splitlines()
    assert len(lines) == MAX_ENTRIES + 1
    assert lines[-1].strip() == "# 7 more entries are left out"


def test_characters_are_bounded_too() -> None:
    transcript = Transcript(lambda: 0.0)
    for _ in range(MAX_CHARACTERS // MAX_TEXT + 5):
        transcript.received(1, "x" * MAX_TEXT)
    assert len(str(transcript)) < MAX_CHARACTERS + 100
    assert "more entries are left out" in str(transcript)
