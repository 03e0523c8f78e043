"""The table on the terminal."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from galileod.conformance.report.model import Report, Row
from galileod.conformance.verdicts import Verdict

WIDTH: Final = 120
"""Columns where the output is no terminal."""

_STYLES: Final = {
    Verdict.PASS: "green",
    Verdict.INFO: "cyan",
    Verdict.UNSUPPORTED: "dim",
    Verdict.SKIPPED: "dim",
    Verdict.NON_STRICT: "yellow",
    Verdict.FAIL: "red",
    Verdict.HARNESS_ERROR: "magenta",
}


def make_console() -> Console:
    """A console on standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def show(report: Report, console: Console) -> None:
    """Print the cases with their findings, and the sum."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Case", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Ending", no_wrap=True)
    table.add_column("About")
    for row in report.rows:
        verdict = row.result.verdict
        table.add_row(
            row.result.case,
            Text(verdict.value, style=_STYLES[verdict]),
            row.result.ending.value,
            _about(row),
        )
    console.print(table)
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in report.counts.items())
    console.print(f"{len(report.rows)} cases: {counts}. Regressions: {report.regressions}.")


def _about(row: Row) -> Text:
    # Text, not markup: a finding may quote a peer.
    about = Text(row.title)
    for finding in row.result.findings:
        number = "" if finding.requirement is None else f"{finding.requirement}: "
        about.append(f"\n{number}{finding.sentence}", style=_STYLES[finding.verdict])
    if row.expected is not None:
        about.append(f"\n{row.regression or 'known failure'}")
    return about
