"""What all reports show."""

from collections import Counter
from datetime import datetime
from typing import Literal

import attrs

from galileod.conformance.verdicts import Result, Verdict


@attrs.frozen
class Row:
    """A case and what it came to."""

    title: str
    requirements: tuple[str, ...]
    profile: str
    result: Result
    expected: Verdict | None
    """The verdict of `--expected`."""
    regression: str | None
    """Why this is a regression; None where it is none."""


@attrs.frozen
class Report:
    """A run."""

    role: Literal["server", "client", "proxy"]
    """Who was judged; `proxy`: both."""
    subject: str
    """The URL or the command line."""
    version: str
    """The kit's version."""
    began: datetime
    rows: tuple[Row, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """The number of cases of each verdict that occurs."""
        counter = Counter(row.result.verdict for row in self.rows)
        return {verdict: counter[verdict] for verdict in Verdict if counter[verdict]}

    @property
    def sum(self) -> str:
        """The counts as a sentence."""
        cases = "1 case" if len(self.rows) == 1 else f"{len(self.rows)} cases"
        counts = ", ".join(f"{count} {verdict.value}" for verdict, count in self.counts.items())
        return f"{cases}: {counts}. Regressions: {self.regressions}."

    def count_requirements(self, verdict: Verdict) -> Counter[str]:
        """The requirements of the findings with this verdict, and in how many cases they are."""
        return Counter(
            requirement
            for row in self.rows
            for requirement in {
                finding.requirement or "no requirement"
                for finding in row.result.findings
                if finding.verdict is verdict
            }
        )

    @property
    def regressions(self) -> int:
        """The number of cases that are a regression."""
        return sum(row.regression is not None for row in self.rows)
