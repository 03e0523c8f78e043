"""From results to reports and an exit status."""

from datetime import UTC, datetime
from typing import Literal

import attrs
import click
from rich.console import Console

from galileod import __version__
from galileod.conformance import report
from galileod.conformance.case import Case
from galileod.conformance.expected import regression
from galileod.conformance.options import Common
from galileod.conformance.report import table
from galileod.conformance.verdicts import Result

REGRESSION = 1
"""Exit status where a case is a regression."""


@attrs.define(eq=False)
class Session:
    """One run of a command that judges."""

    common: Common
    role: Literal["server", "client", "proxy"]
    subject: str
    """What is judged, for the reports."""
    console: Console = attrs.field(factory=table.make_console)
    began: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    _rows: list[report.Row] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            report.prepare(self.common.output)
        except OSError as error:
            raise click.UsageError(f"Cannot write the reports: {error}.") from None

    def record(self, case: Case, result: Result) -> None:
        """A case is over: print it."""
        row = self._row(case, result)
        self._rows.append(row)
        table.show_row(row, self.console)

    def conclude(self) -> int:
        """Write the reports, print the sum; return the exit status."""
        document = report.Report(
            self.role, self.subject, __version__, self.began, tuple(self._rows)
        )
        try:
            report.write(document, self.common.output)
        except OSError as error:
            table.show_sum(document, self.console)
            raise click.ClickException(f"Cannot write the reports: {error}.") from None
        table.show_sum(document, self.console)  # last, since nobody may read it
        self.console.print(f"Reports: {self.common.output}/index.html", markup=False)
        return REGRESSION if document.regressions else 0

    def _row(self, case: Case, result: Result) -> report.Row:
        expected = self.common.expected
        return report.Row(
            title=case.title,
            requirements=case.requirements,
            profile=case.profile,
            result=result,
            expected=expected.get(case.number),
            regression=regression(result, expected, strict=self.common.strict),
        )
