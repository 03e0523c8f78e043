"""The table on the terminal."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from galileod.conformance.report.model import Report, Row
from galileod.conformance.verdicts import Verdict

WIDTH: Final = 120
"""Columns where the output is no terminal."""

FINDINGS: Final = 3
"""Findings of a case that are shown: the further ones often repeat them for other data."""

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
    console.print(report.sum)


def _about(row: Row) -> Text:
    # Text, not markup: a finding may quote a peer.
    about = Text(row.title)
    findings = row.result.findings
    for finding in findings[:FINDINGS]:
        about.append(f"\n{finding}", style=_STYLES[finding.verdict])
    if more := len(findings[FINDINGS:]):
        about.append(f"\n{more} more in the report")
    if row.regression is not None and row.expected is not None:
        about.append(f"\n{row.regression}")
    elif row.expected is row.result.verdict:
        about.append("\nknown failure")
    return about
