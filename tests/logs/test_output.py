"""Where lines are written."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest
from helpers.logged import lines, run

from galileod.logs.output import MAX_BYTES, MAX_LINES, Output

pytestmark = pytest.mark.timeout(30)


def test_a_stream_that_takes_nothing_any_more_raises_nothing_and_prints_nothing() -> None:
    assert run("os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nlog.info('x')") == ""


def test_a_record_that_cannot_be_formatted_is_left_out() -> None:
    assert lines("logging.warning('%d', 'x')\nlog.info('x')")[0]["event"] == "x"


def test_lines_about_connections_that_cannot_be_accepted_are_seldom_and_have_no_traceback() -> None:
    script = """
        try:
            1 / 0
        except ZeroDivisionError:
            for _ in range(3):
                logging.getLogger("trio.serve_listeners").exception("accept failed")
    """
    (line,) = lines(script)
    assert line["event"] == "accept failed"
    assert "exception" not in line


def test_all_lines_are_written_before_the_process_ends() -> None:
    told = lines("for number in range(5000):\n  log.info('x', number=number)")
    assert [line["number"] for line in told] == list(range(5000))


def test_a_line_that_is_logged_last_of_all_is_written() -> None:
    (line,) = lines(
        """
        class Late:
            def __del__(self, log=log):
                log.info("late")

        late = Late()
        """
    )
    assert line["event"] == "late"


def test_a_finalizer_may_log_at_any_time() -> None:
    told = lines(
        """
        class Cycle:
            def __init__(self):
                self.itself = self

            def __del__(self):
                log.info("finalized")

        gc.set_threshold(1)
        for number in range(1000):
            Cycle()
            log.info("x")
        gc.collect()
        """
    )
    assert [line["event"] for line in told].count("finalized") == 1000
    assert [line["event"] for line in told].count("x") == 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: the descriptor for reading, the stream for writing."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0), open(writing, "w", encoding="utf-8") as stream:
        yield reading, stream


def read_until(reading: int, end: bytes) -> list[bytes]:
    text = b""
    while not text.endswith(end):
        data = os.read(reading, 1 << 20)
        assert data
        text += data
    return text.splitlines()


@pytest.mark.parametrize("size", [8, 1000], ids=["many lines", "many bytes"])
def test_what_finds_no_room_is_counted_and_told(pipe: tuple[int, TextIO], size: int) -> None:
    reading, stream = pipe
    output = Output(stream, "dropped {}.".format)
    count = 4 * MAX_LINES
    for number in range(count):
        output.write(f"{number:0{size}}")
    written: list[bytes] = []
    dropped = 0
    while len(written) + dropped < count:
        for line in read_until(reading, b"\n"):
            if line.startswith(b"dropped"):
                dropped += int(line[8:-1])
            else:
                written.append(line)
    # Besides what waits, the pipe holds some lines.
    pipe_bytes = fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ)
    assert 0 < len(written) <= 2 * MAX_LINES + pipe_bytes // (max(size, 1) + 1)
    assert sum(map(len, written)) <= 2 * MAX_BYTES + pipe_bytes
    assert written == sorted(written)
    output.write("after")
    assert read_until(reading, b"after\n") == [b"after"]
    output.close()


def test_what_a_failing_stream_does_not_take_is_told_when_it_does(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, stream = pipe
    attempts = threading.Semaphore(0)
    write, failing = os.write, True

    def write_or_fail(descriptor: int, data: bytes) -> int:
        if not failing:
            return write(descriptor, data)
        attempts.release()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_or_fail)
    output = Output(stream, "dropped {}.".format)
    for _ in range(3):
        output.write("lost")
        attempts.acquire()
    failing = False
    output.write("kept")
    assert read_until(reading, b".\n") == [b"kept", b"dropped 3."]
    output.close()


def test_an_end_without_a_reader_is_not_delayed_for_ever(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.logs.output.FLUSH_SECONDS", 0.1)
    reading, stream = pipe
    output = Output(stream, "dropped {}.".format)
    for _ in range(1000):
        output.write("x" * 100)
    output.close()
    output.write("last")
    assert len(read_until(reading, b"last\n")) == 1001
