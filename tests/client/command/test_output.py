"""Lines to standard output and error."""

import os
import threading
from pathlib import Path

from galileod.client.command.jobs import file_job
from galileod.client.command.output import BEHIND, Lines, QueuedLines, standard
from galileod.client.command.report_json import JsonReporter


def test_a_reader_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        lines = Lines(stream)
        os.close(reading)
        lines.write("nobody hears")
        lines.write("nor this")


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        standard(stream).write("häh \udce4")
    assert (tmp_path / "out").read_bytes() == b"h\\xe4h \\udce4\n"


class Slow(Lines):
    """A reader that takes a line only when it is let."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.let.acquire()
        self.lines.append(line)


def test_lines_for_a_slow_reader_wait_and_progress_is_left_out() -> None:
    slow = Slow()
    with QueuedLines(slow) as lines:
        report = JsonReporter(lines, lambda: 0.0)
        for number in range(BEHIND + 1):
            lines.write(str(number))
        assert lines.behind
        report.moved(file_job("a", None), 1, 2)
        slow.let.release(BEHIND + 1)
    assert "\n".join(slow.lines).split("\n") == [str(number) for number in range(BEHIND + 1)]
