"""`index.json`: the results for programs."""

import json
from typing import Any

from galileod.conformance.report.model import Report, Row


def render(report: Report) -> str:
    """The report as JSON."""
    index = {
        "kit": report.version,
        "role": report.role,
        "subject": report.subject,
        "began": report.began.isoformat(timespec="seconds"),
        "counts": {verdict.value: count for verdict, count in report.counts.items()},
        "regressions": report.regressions,
        "cases": [_case(row) for row in report.rows],
    }
    return json.dumps(index, indent=1, ensure_ascii=False) + "\n"


def _case(row: Row) -> dict[str, Any]:
    result = row.result
    return {
        "case": result.case,
        "title": row.title,
        "profile": row.profile,
        "requirements": list(row.requirements),
        "verdict": result.verdict.value,
        "expected": None if row.expected is None else row.expected.value,
        "regression": row.regression,
        "ending": result.ending.value,
        "seconds": round(result.seconds, 3),
        "findings": [
            {
                "verdict": finding.verdict.value,
                "requirement": finding.requirement,
                "sentence": finding.sentence,
            }
            for finding in result.findings
        ],
    }
