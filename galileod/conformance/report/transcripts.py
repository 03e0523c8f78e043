"""`3.1.4.txt`: what was sent and received in a case."""

from galileod.conformance.report.model import Row


def render(row: Row) -> str:
    """The transcript of a case, with its title and findings."""
    result = row.result
    head = [f"{result.case}  {row.title}", f"{result.verdict.value}, ending {result.ending.value}"]
    for finding in result.findings:
        number = "" if finding.requirement is None else f" {finding.requirement}"
        head.append(f"{finding.verdict.value}{number}: {finding.sentence}")
    return "\n".join(head) + "\n\n" + result.transcript
