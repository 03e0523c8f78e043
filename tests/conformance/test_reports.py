import io
import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest
from rich.console import Console

from galileod.conformance import report
from galileod.conformance.report import index, junit, page, table
from galileod.conformance.report.model import Report, Row
from galileod.conformance.verdicts import Ending, Finding, Result, Verdict

HOSTILE = '<script>alert(1)</script> & "quotes" [red]markup[/red] \x00\x1b[2J \ud800 ä'


def row(
    case: str,
    verdict: Verdict,
    sentence: str | None = None,
    *,
    expected: Verdict | None = None,
    regression: str | None = None,
) -> Row:
    findings = () if sentence is None else (Finding(verdict, "S3.1", sentence),)
    outcome = Result(case, verdict, findings, Ending.TCP, f"0.1  1 <- {HOSTILE}\n", 1.2345)
    return Row(f"Title of {case}.", ("S3.1",), "core", outcome, expected, regression)


@pytest.fixture
def document() -> Report:
    rows = (
        row("3.1.1", Verdict.PASS),
        row("3.1.2", Verdict.FAIL, HOSTILE, regression="got FAIL"),
        row("3.1.3", Verdict.FAIL, "known", expected=Verdict.FAIL),
        row("3.1.4", Verdict.UNSUPPORTED, "no resume"),
        row("3.1.5", Verdict.HARNESS_ERROR, "cannot connect", regression="got HARNESS-ERROR"),
        row("3.1.6", Verdict.NON_STRICT, "late"),
        row("3.1.7", Verdict.SKIPPED, "x", expected=Verdict.FAIL),
        row("3.1.8", Verdict.PASS, expected=Verdict.FAIL, regression="expected FAIL, got PASS"),
    )
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Report("server", "ws://h/<up>", "1.2.3", began, rows)


def test_the_index_has_every_result(document: Report) -> None:
    value = json.loads(index.render(document))
    assert value["role"] == "server"
    assert value["began"] == "2026-01-02T03:04:05+00:00"
    assert value["regressions"] == 3
    assert value["counts"]["PASS"] == 2
    assert value["cases"][1] == {
        "case": "3.1.2",
        "title": "Title of 3.1.2.",
        "profile": "core",
        "requirements": ["S3.1"],
        "verdict": "FAIL",
        "expected": None,
        "regression": "got FAIL",
        "ending": "tcp",
        "seconds": 1.234,
        "findings": [{"verdict": "FAIL", "requirement": "S3.1", "sentence": HOSTILE}],
    }


class _Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value for key, value in attrs if key == "href" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_escapes_what_peers_sent(document: Report) -> None:
    tags = _Tags()
    tags.feed(page.render(document))
    assert set(tags.tags).isdisjoint({"script", "link", "img", "red"})
    assert tags.tags.count("details") == len(document.rows)
    assert '<script>alert(1)</script> & "quotes"' in tags.text
    assert "8 cases: 2 PASS" in tags.text
    assert "expected FAIL" in tags.text
    assert [f"#{name}" for name in tags.ids] == tags.links


def test_junit_tells_regressions_known_failures_and_errors_apart(document: Report) -> None:
    suite = ET.fromstring(junit.render(document))  # noqa: S314  # our own
    kinds = [[child.tag for child in case] for case in suite]
    assert kinds == [
        [],
        ["failure"],
        ["skipped"],
        ["skipped"],
        ["error"],
        ["system-out"],
        ["skipped"],
        ["failure"],
    ]
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "2", "errors": "1", "skipped": "3"}
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.startswith("S3.1: <script>alert(1)</script>")


def shown(*rows: Row) -> str:
    console = Console(file=io.StringIO(), width=120)
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for each in rows:
        table.show_row(each, console)
    table.show_sum(Report("server", "ws://h", "1.0", began, rows), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_the_first_findings_of_a_case_and_counts_the_others() -> None:
    failed = row("3.1.1", Verdict.FAIL, "short", regression="got FAIL")
    findings = tuple(Finding(Verdict.FAIL, "S3.1", f"number {count}") for count in range(5))
    text = shown(attrs.evolve(failed, result=attrs.evolve(failed.result, findings=findings)))
    assert "S3.1: number 2" in text
    assert "number 3" not in text
    assert "2 more in the report" in text


def test_the_end_of_the_table_counts_the_cases_in_which_each_requirement_does_not_hold() -> None:
    rows = [row(f"3.1.{n}", Verdict.FAIL, "short", regression="got FAIL") for n in (1, 2)]
    assert "FAIL, with the number of cases: S3.1 (2)" in shown(*rows)


def test_a_case_that_is_not_supported_has_one_line() -> None:
    text = shown(row("8.1.5", Verdict.UNSUPPORTED, "the server does not offer resume"))
    assert "does not offer" not in text


def test_a_skipped_case_is_not_called_a_known_failure() -> None:
    assert "known failure" not in shown(row("3.1.1", Verdict.SKIPPED, expected=Verdict.FAIL))


def test_the_table_shows_findings_without_taking_them_for_markup(document: Report) -> None:
    text = shown(*document.rows)
    assert "[red]markup[/red]" in text
    assert "3.1.3          FAIL           tcp     Title of 3.1.3." in text
    assert "known failure" in text
    assert "expected FAIL, got PASS" in text
    assert "Regressions: 3." in text


def test_all_reports_are_written_and_old_transcripts_are_removed(
    document: Report, tmp_path: Path
) -> None:
    directory = tmp_path / "a" / "b"
    report.prepare(directory)
    (directory / "9.1.1.txt").touch()
    (directory / "notes.txt").touch()
    report.prepare(directory)
    report.write(document, directory)
    names = {path.name for path in directory.iterdir()}
    transcripts = {f"{row.result.case}.txt" for row in document.rows}
    assert names == transcripts | {"index.html", "index.json", "junit.xml", "notes.txt"}
    transcript = (directory / "3.1.2.txt").read_text("utf-8")
    assert transcript.startswith("3.1.2  Title of 3.1.2.\nFAIL, ending tcp\nFAIL S3.1: <script>")
    assert "1 <- <script>" in transcript
