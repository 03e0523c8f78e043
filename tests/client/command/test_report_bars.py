"""Bars on a terminal."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest
from helpers.clients import some_bytes
from helpers.daemon import DEADLINE, Daemon
from helpers.sending import GALILEO_SEND
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from galileod.client import ConnectError, Receipt
from galileod.client.command.bar_columns import shortened
from galileod.client.command.batch import Tally
from galileod.client.command.jobs import Job
from galileod.client.command.report_bars import MARGIN, MAX_LINES, BarReporter


async def nothing() -> bytes:
    return b""


def job(label: str, size: int = 1000) -> Job:
    return Job(label, nothing, label, size)


def receipt(name: str, size: int) -> Receipt:
    return Receipt(name, name, size, {"sha1": "00"}, 1.0, 1, verified=True)


class Screen:
    """A terminal of so many columns, in memory."""

    def __init__(self, width: int) -> None:
        self.text = io.StringIO()
        self.console = Console(
            file=self.text, width=width, height=24, force_terminal=True, color_system=None,
            highlight=False, legacy_windows=False,
        )  # fmt: skip

    def bars(self, count: int, size: int) -> BarReporter:
        return BarReporter(count, size, "normal", None, self.console)

    def lines(self, reporter: BarReporter) -> list[str]:
        """What the bars look like now."""
        paper = Console(file=io.StringIO(), width=self.console.width, color_system=None)
        with reporter._drawing, paper.capture() as captured:
            paper.print(reporter._table())
        return captured.get().rstrip("\n").splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("count", [1, 200])
def test_bars_fit_the_terminal(width: int, count: int) -> None:
    screen = Screen(width)
    jobs = [job(f"folder/a-rather-long-name-🚀-{number}.jpg") for number in range(count)]
    reporter = screen.bars(count, 1000 * count)
    for one in jobs[:3]:
        reporter.started(one, 1)
        reporter.moved(one, 500, 1000)
    lines = screen.lines(reporter)
    assert len(lines) == min(count, 3) + (count > 1)
    assert {cell_len(line) for line in lines} == {width - MARGIN}
    assert all("50%" in line for line in lines[-min(count, 3) :])
    assert all("0.jpg" in line for line in lines[-1:]) or count > 1
    assert ("500 B" in lines[-1]) is (width - MARGIN >= 60)
    assert not [line for line in lines if "folder/" in line]


def test_the_total_counts_files_and_bytes() -> None:
    screen = Screen(80)
    first, second, third = job("a"), job("b"), job("c")
    with screen.bars(3, 3000) as reporter:
        for one in (first, second, third):
            reporter.started(one, 1)
            reporter.moved(one, 400, 1000)
        reporter.stored(first, receipt("a", 1000), 1)
        reporter.failed(second, ConnectError("There is no way to b."), 1)
        total, last = screen.lines(reporter)
    assert total.startswith("2 of 3 ")
    assert " 80% " in total  # what failed is done with, too
    assert last.startswith("c ")
    shown = screen.text.getvalue()
    assert "stored a (1000 B, 1000 B/s)" in shown
    assert "galileo-send: b: There is no way to b." in shown


def test_what_the_server_has_already_counts_as_a_file_and_not_as_bytes() -> None:
    screen = Screen(80)
    first, second, third = job("a"), job("b", 5000), Job("-", nothing, "stdin")
    with screen.bars(3, 6000) as reporter:
        reporter.held(second)
        reporter.held(third)
        reporter.started(first, 1)
        reporter.moved(first, 400, 1000)
        total, last = screen.lines(reporter)
    assert total.startswith("2 of 3 ")
    assert " 40% " in total
    assert last.startswith("a ")
    assert "skipped b (already there)" in screen.text.getvalue()


def test_no_more_bars_are_drawn_than_the_terminal_has_rows() -> None:
    screen = Screen(80)
    reporter = screen.bars(200, 200_000)
    jobs = [job(str(number)) for number in range(50)]
    for one in jobs:
        reporter.started(one, 1)
        reporter.moved(one, 500, 1000)
    total, *lines = screen.lines(reporter)
    assert " 12% " in total  # those that are not shown are counted
    assert [line.split()[0] for line in lines] == [str(number) for number in range(22)]
    reporter.stored(jobs[0], receipt("0", 1000), 1)
    assert screen.lines(reporter)[-1].startswith("22 ")


def test_what_happens_is_not_drawn_each_time() -> None:
    screen = Screen(80)
    reporter = screen.bars(200, 200_000)
    with screen.console:  # what is printed in here would be in its buffer
        for number in range(100):
            one = job(str(number))
            reporter.started(one, 1)
            reporter.moved(one, 500, 1000)
            reporter.stored(one, receipt(one.name, 1000), 1)
        assert not screen.console._buffer
        reporter.draw()
        assert screen.console._buffer


def test_the_bars_below_a_new_line_are_new_too() -> None:
    screen, one = Screen(80), job("a")
    with screen.bars(3, 3000) as reporter:
        reporter.started(one, 1)
        reporter.draw()
        reporter.stored(one, receipt("a", 1000), 1)
        reporter.draw()
        assert screen.text.getvalue().rpartition(" of 3")[0].endswith("1")


def test_lines_that_wait_are_not_without_end() -> None:
    screen = Screen(80)
    reporter = screen.bars(1, 0)
    for number in range(MAX_LINES):
        reporter.notice(str(number))
    assert screen.text.getvalue().count("galileo-send: ") == MAX_LINES


def test_before_anything_has_begun_there_is_something_to_see() -> None:
    screen = Screen(80)
    (line,) = screen.lines(screen.bars(1, 0))
    assert line.startswith("0 of 1 ")


def test_nothing_is_left_of_the_bars_at_their_end() -> None:
    screen = Screen(80)
    with screen.bars(3, 3000) as reporter:
        reporter.started(job("a"), 1)
        reporter.draw()
    last = screen.text.getvalue().rpartition("0 of 3")[2]
    assert last.count("\x1b[2K") >= 2, "both rows are erased"
    assert screen.lines(reporter) == []
    reporter.ended(Tally(3), 1.0, interrupted=True)
    assert screen.text.getvalue().endswith(", 3 not sent.\n")


def test_another_attempt_begins_the_bar_anew() -> None:
    screen = Screen(80)
    one = job("a")
    with screen.bars(1, 1000) as reporter:
        reporter.started(one, 1)
        reporter.moved(one, 900, 1000)
        reporter.retrying(one, 1, 0.5, ConnectError("Nobody listens."))
        reporter.started(one, 2)
        reporter.moved(one, 100, 1000)
        (line,) = screen.lines(reporter)
    assert " 10% " in line
    assert "a: Nobody listens. Attempt 2 begins in 0.5 s." in screen.text.getvalue()


def test_brackets_in_a_name_are_no_markup() -> None:
    screen = Screen(80)
    with screen.bars(1, 1) as reporter:
        one = job("[red]x[bold]")
        reporter.started(one, 1)
        assert screen.lines(reporter)[0].startswith("[red]x[bold] ")
        reporter.stored(one, receipt("x", 1), 1)
    assert "stored [red]x[bold]" in screen.text.getvalue()


@given(st.text(st.characters(exclude_categories=["C", "M", "Z"])), st.integers(8, 60))
def test_a_shortened_name_fits_and_keeps_its_ends(name: str, width: int) -> None:
    short = shortened(name, width)
    assert cell_len(short) <= width
    if short != name:
        head, _, tail = short.partition("…")
        assert name.startswith(head)
        assert name.endswith(short.removeprefix(f"{head}…"))
        assert cell_len(short) >= width - 2
        assert tail or "…" in name


def on_a_terminal(columns: int, *arguments: str | Path, **environ: str) -> str:
    """All that `galileo-send` shows on a terminal; it must succeed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                shown.extend(data)
        except OSError:
            pass  # EIO: nobody has the other end open any more

    environ = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", **environ}
    environ.pop("COLUMNS", None)
    sending = subprocess.Popen(
        [GALILEO_SEND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
    )
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    assert sending.wait(DEADLINE) == 0, shown
    reader.join()
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("count", [1, 20])
def test_a_terminal_is_left_as_it_was_found(
    server: Daemon, tmp_path: Path, columns: int, count: int
) -> None:
    for number in range(count):
        (tmp_path / f"{columns}-{count}-{number}").write_bytes(some_bytes(1000))
    text = on_a_terminal(columns, server.url, *sorted(tmp_path.iterdir()))
    assert text.count("stored ") >= count
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is to be seen again"
    assert ("of 20" in text) is (count == 20)


def test_a_terminal_that_lacks_the_characters_gets_lines(server: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    text = on_a_terminal(80, server.url, tmp_path / "a", PYTHONIOENCODING="ascii")
    assert text.startswith("stored ")
    assert "\x1b" not in text


def test_a_bar_goes_on_at_the_servers_offset_and_counts_no_rate_for_it() -> None:
    screen = Screen(80)
    first, second = job("a", 10**9), job("b", 10**9)
    reporter = screen.bars(2, 2 * 10**9)
    reporter.started(first, 1)
    reporter.started(second, 1)
    screen.lines(reporter)
    reporter.resumed(first, 5 * 10**8, 10**9)
    total, bar, other = screen.lines(reporter)
    assert " 50% " in bar
    assert " 25% " in total
    assert " 0% " in other
    assert "/s" not in total + bar
    reporter.moved(first, 6 * 10**8, 10**9)
    assert " 60% " in screen.lines(reporter)[1]
    reporter.started(first, 2)  # it stays where it was
    assert " 60% " in screen.lines(reporter)[1]
    reporter.resumed(first, 55 * 10**7, 10**9)
    assert [line.split()[0] for line in screen.lines(reporter)[1:]] == ["a", "b"]
    assert " 55% " in screen.lines(reporter)[1]
