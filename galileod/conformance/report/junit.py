"""`junit.xml`: the results for continuous integration."""

import re
from typing import Final
from xml.etree import ElementTree as ET

from galileod.conformance.report.model import Report, Row
from galileod.conformance.verdicts import Verdict

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even as references."""


def render(report: Report) -> str:
    """The report as JUnit's XML.

    A regression is a failure or an error; a known failure, UNSUPPORTED and SKIPPED are skipped.
    """
    errors = sum(row.result.verdict is Verdict.HARNESS_ERROR for row in report.rows)
    suite = ET.Element(
        "testsuite",
        name=_clean(f"galileo-conformance {report.role}"),
        tests=str(len(report.rows)),
        errors=str(errors),
        failures=str(report.regressions - errors),
        skipped=str(sum(_is_skipped(row) for row in report.rows)),
        time=f"{sum(row.result.seconds for row in report.rows):.3f}",
        timestamp=report.began.isoformat(timespec="seconds"),
    )
    for row in report.rows:
        suite.append(_case(report, row))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(report: Report, row: Row) -> ET.Element:
    result = row.result
    case = ET.Element(
        "testcase",
        classname=f"galileo-conformance.{report.role}",
        name=_clean(f"{result.case} {row.title}"),
        time=f"{result.seconds:.3f}",
    )
    findings = _clean("\n".join(map(str, result.findings)))
    if result.verdict is Verdict.HARNESS_ERROR:
        ET.SubElement(case, "error", message=result.verdict.value).text = findings
    elif row.regression is not None:
        ET.SubElement(case, "failure", message=_clean(row.regression)).text = findings
    elif _is_skipped(row):
        ET.SubElement(case, "skipped", message=_clean(result.verdict.value)).text = findings
    elif findings:
        ET.SubElement(case, "system-out").text = findings
    return case


def _is_skipped(row: Row) -> bool:
    passed_over = row.result.verdict in {Verdict.UNSUPPORTED, Verdict.SKIPPED}
    return row.regression is None and (passed_over or row.expected is not None)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
