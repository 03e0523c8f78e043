"""The lines about each file, and the summary."""

import io

import pytest
from attrs import evolve

from galileod.client.command.batch import Tally
from galileod.client.command.jobs import Job
from galileod.client.command.output import Lines
from galileod.client.command.report_text import MAX_DROPPED, TextReporter, Verbosity, summary
from galileod.client.errors import LostError, RefusedError, SourceError
from galileod.client.options import Receipt


async def nothing() -> bytes:
    return b""


JOB = Job("photos/a.jpg", nothing, "a.jpg", 2048)
ODD = Job("odd\x1b[31m\n.jpg", nothing, "odd.jpg", 1)
RECEIPT = Receipt("a.jpg", "a (1).jpg", 2048, {"sha1": "ab12"}, 2.0, 3, verified=True)


class Screen:
    """A reporter for people, and what it has printed."""

    def __init__(self, verbosity: Verbosity = "normal") -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.reporter = TextReporter(Lines(self._out), Lines(self._err), verbosity)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "out", "err"),
    [
        ("quiet", "", ""),
        ("normal", "stored photos/a.jpg as a (1).jpg (2.0 KiB, 1.0 KiB/s)\n", ""),
        (
            "verbose",
            "stored photos/a.jpg as a (1).jpg (2.0 KiB, 1.0 KiB/s)\n",
            "sending photos/a.jpg (attempt 1)\n  3 chunks, 2.0 s, sha1 ab12\n",
        ),
    ],
)
def test_a_stored_file_is_a_line(verbosity: Verbosity, out: str, err: str) -> None:
    screen = Screen(verbosity)
    screen.reporter.started(JOB, 1)
    screen.reporter.stored(JOB, RECEIPT, 1)
    assert (screen.out, screen.err) == (out, err)


def test_the_name_is_told_only_where_it_is_another() -> None:
    screen = Screen()
    same = Receipt("a.jpg", "a.jpg", 10, {}, 0.0, 1, verified=False)
    screen.reporter.stored(JOB, same, 1)
    assert screen.out == "stored photos/a.jpg (10 B, -)\n"


@pytest.mark.parametrize("verbosity", ["quiet", "normal"])
def test_a_failure_is_told_however_quiet(verbosity: Verbosity) -> None:
    screen = Screen(verbosity)
    screen.reporter.failed(JOB, LostError("The connection broke."), 3)
    screen.reporter.failed(JOB, SourceError("photos/a.jpg is a folder."), 1)
    assert screen.err == (
        "galileo-send: photos/a.jpg: The connection broke. (after 3 attempts)\n"
        "galileo-send: photos/a.jpg is a folder.\n"
    )
    assert not screen.out


@pytest.mark.parametrize("verbosity", ["quiet", "normal"])
def test_of_many_files_that_are_not_sent_the_first_have_lines(verbosity: Verbosity) -> None:
    screen = Screen(verbosity)
    error = LostError("The server is gone.")
    for _ in range(MAX_DROPPED):
        screen.reporter.dropped(JOB, error, 0)
    lines = ["galileo-send: photos/a.jpg: not sent for the same reason."] * MAX_DROPPED
    assert screen.err.splitlines() == lines
    for _ in range(2):
        screen.reporter.dropped(JOB, error, 0)
    assert screen.err.splitlines() == lines
    screen.reporter.ended(Tally(1), 1.0, interrupted=False)
    last = "galileo-send: 2 more files were not sent for this reason: The server is gone."
    assert screen.err.splitlines() == [*lines, last]


def test_one_more_file_that_is_not_sent_is_one() -> None:
    screen = Screen()
    for _ in range(MAX_DROPPED + 1):
        screen.reporter.dropped(JOB, LostError("The server is gone."), 0)
    screen.reporter.ended(Tally(1), 1.0, interrupted=False)
    assert screen.err.endswith("1 more file was not sent for this reason: The server is gone.\n")


def test_what_comes_from_elsewhere_does_nothing_to_a_terminal() -> None:
    screen = Screen("verbose")
    bad = "worse\x1b[2J\nand more"
    report = screen.reporter
    report.started(ODD, 1)
    report.warned(ODD, bad)
    report.retrying(ODD, 1, 2.0, LostError(bad))
    report.failed(ODD, RefusedError({"error": bad}), 1)
    report.skipped(ODD.label, "not a regular file")
    report.held(ODD)
    report.listed(ODD)
    report.replaced(ODD, ODD, bad)
    report.stored(ODD, Receipt("odd", bad, 1, {}, 1.0, 1, verified=False), 1)
    printed = (screen.out + screen.err).splitlines()
    assert len(printed) == 10  # one for each, and one with the hash
    assert all(line.isprintable() for line in printed)


def test_another_attempt_is_told_unless_quiet() -> None:
    for verbosity, err in (
        ("normal", "photos/a.jpg: It broke. Attempt 3 begins in 12 s.\n"),
        ("quiet", ""),
    ):
        screen = Screen("quiet" if verbosity == "quiet" else "normal")
        screen.reporter.retrying(JOB, 2, 12.0, LostError("It broke."))
        assert screen.err == err


@pytest.mark.parametrize(
    ("tally", "interrupted", "text"),
    [
        (Tally(1, 1, 0, 2048), False, "1 of 1 file stored (2.0 KiB in 3.0 s)."),
        (Tally(5, 2, 1, 0), False, "2 of 5 files stored (0 B in 3.0 s), 1 failed, 2 not sent."),
        (
            Tally(5, 2, 0, 0, unconfirmed=2),
            True,
            (
                "Interrupted: 2 of 5 files stored (0 B in 3.0 s), 2 without an answer, which may"
                " be stored, 1 not sent."
            ),
        ),
        (
            Tally(9, 2, 1, 0, held=3, replaced=1),
            False,
            (
                "2 of 9 files stored (0 B in 3.0 s), 3 already there, 1 replaced by others, 1"
                " failed, 2 not sent."
            ),
        ),
        (
            Tally(5, size=2048, failed=1, held=1, listed=3, dry_run=True),
            False,
            "3 of 5 files would be sent (2.0 KiB), 1 already there, 1 failed.",
        ),
        (Tally(5, 2, 0, 0), True, "Interrupted: 2 of 5 files stored (0 B in 3.0 s), 3 not sent."),
    ],
)
def test_a_summary_accounts_for_all_files(tally: Tally, text: str, *, interrupted: bool) -> None:
    assert summary(tally, 3.0, interrupted=interrupted) == text


@pytest.mark.parametrize(
    ("verbosity", "total", "interrupted", "told"),
    [
        ("normal", 1, False, False),
        ("normal", 2, False, True),
        ("quiet", 2, False, False),
        ("quiet", 2, True, True),
        ("normal", 1, True, True),
    ],
)
def test_a_summary_comes_where_one_line_is_not_all(
    verbosity: Verbosity, total: int, *, interrupted: bool, told: bool
) -> None:
    screen = Screen(verbosity)
    screen.reporter.ended(Tally(total), 1.0, interrupted=interrupted)
    assert bool(screen.err) is told


@pytest.mark.parametrize(
    ("resumed", "shown"), [(1024, "2.0 KiB, 512 B/s"), (2048, "2.0 KiB, sent before")]
)
def test_the_rate_is_that_of_what_was_sent_now(resumed: int, shown: str) -> None:
    screen = Screen()
    screen.reporter.stored(JOB, evolve(RECEIPT, resumed=resumed), 1)
    assert screen.out == f"stored photos/a.jpg as a (1).jpg ({shown})\n"


@pytest.mark.parametrize("verbosity", ["quiet", "normal", "verbose"])
def test_what_the_server_has_already_is_a_line(verbosity: Verbosity) -> None:
    screen = Screen(verbosity)
    screen.reporter.resumed(JOB, 1024, 2048)
    line = "photos/a.jpg: the server has 1.0 KiB of 2.0 KiB; the rest is sent.\n"
    assert screen.err == ("" if verbosity == "quiet" else line)
