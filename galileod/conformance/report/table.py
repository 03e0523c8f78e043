"""The table on the terminal."""

import os
import sys
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

REQUIREMENTS: Final = 20
"""Requirements that do not hold, in the line at the end."""
_WIDTHS: Final = (13, 13, 6)
"""Columns of the number, the verdict and the ending; `connection-100` is the longest number but for
the rarest."""

_STYLES: Final = {
    Verdict.PASS: "green",
    Verdict.INFO: "cyan",
    Verdict.UNSUPPORTED: "dim",
    Verdict.SKIPPED: "dim",
    Verdict.NON_STRICT: "yellow",
    Verdict.FAIL: "red",
    Verdict.HARNESS_ERROR: "magenta",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more: write nothing, and go on, since the reports are still to come."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def make_console() -> Console:
    """A console on standard output."""
    console = _Console(highlight=False)
    return console if console.is_terminal else _Console(highlight=False, width=WIDTH)


def show_row(row: Row, console: Console) -> None:
    """Print a case with its findings."""
    verdict = row.result.verdict
    line = Table.grid(padding=(0, 2, 0, 0))
    for width in _WIDTHS:
        line.add_column(width=width, no_wrap=True)
    line.add_column()
    line.add_row(
        row.result.case,
        Text(verdict.value, style=_STYLES[verdict]),
        row.result.ending.value,
        _about(row),
    )
    console.print(line)


def show_sum(report: Report, console: Console) -> None:
    """Print what all cases came to, and which requirements do not hold."""
    for verdict in (Verdict.FAIL, Verdict.NON_STRICT):
        if counts := report.count_requirements(verdict):
            parts = [f"{name} ({count})" for name, count in counts.most_common(REQUIREMENTS)]
            more = ", …" if len(counts) > REQUIREMENTS else ""
            console.print(
                f"{verdict.value}, with the number of cases: {', '.join(parts)}{more}",
                style=_STYLES[verdict],
            )
    console.print(report.sum)


def _about(row: Row) -> Text:
    # Text, not markup: a finding may quote a peer.
    about = Text(row.title)
    findings = row.result.findings
    if row.result.verdict is Verdict.UNSUPPORTED:
        findings = ()  # the same sentence in each case of an extension
    for finding in findings[:FINDINGS]:
        about.append(f"\n{finding}", style=_STYLES[finding.verdict])
    if more := len(findings[FINDINGS:]):
        about.append(f"\n{more} more in the report")
    if row.regression is not None and row.expected is not None:
        about.append(f"\n{row.regression}")
    elif row.expected is row.result.verdict:
        about.append("\nknown failure")
    return about
