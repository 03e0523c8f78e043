"""`index.html`: the results for people, on one page that needs nothing else."""

from html import escape
from typing import Final

from galileod.conformance.report.model import Report, Row

MAX_SHOWN: Final = 100_000
"""Characters of a transcript on the page."""

_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem }
tr { border-bottom: 1px solid #8884 }
pre { overflow-x: auto; padding: .5rem; background: #8882; font-size: 13px }
.verdict { white-space: nowrap; font-weight: 600 }
.PASS { color: light-dark(#116329, #6fdd8b) }
.FAIL, .HARNESS-ERROR { color: light-dark(#a40e26, #ff9492) }
.NON-STRICT { color: light-dark(#7d4e00, #f0b72f) }
ul { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere }
@media (max-width: 40rem) {
  thead { display: none }
  tr { display: flex; flex-wrap: wrap; padding: .4rem 0 }
  td { padding: 0 .6rem 0 0 }
  td:last-child { flex-basis: 100% }
}
"""

_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""


def render(report: Report) -> str:
    """The report as HTML. Everything that came from a peer is escaped."""
    title = f"GalileoSend conformance: {report.role} {report.subject}"
    parts = [
        _HEAD.format(title=escape(title), style=_STYLE),
        f"<h1>GalileoSend conformance of a {report.role}</h1>\n",
        f"<p><code>{escape(report.subject)}</code>, {report.began:%Y-%m-%d %H:%M} UTC, ",
        f"galileo-conformance {escape(report.version)}</p>\n",
        f"<p>{report.sum}</p>\n",
        "<table>\n<thead><tr><th scope=col>Case<th scope=col>Verdict<th scope=col>Ending",
        "<th scope=col>Seconds<th scope=col>About</thead>\n<tbody>\n",
        *map(_row, report.rows),
        "</tbody>\n</table>\n<h2>Transcripts</h2>\n",
        "<p><code>-&gt;</code> the kit sends, <code>&lt;-</code> the peer sends; ",
        "the number counts the connections of a case.</p>\n",
        *map(_transcript, report.rows),
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _row(row: Row) -> str:
    result = row.result
    verdict = result.verdict.value
    marks = [f'<span class="{verdict}">{verdict}</span>']
    if row.expected is not None:
        marks.append(f"expected {row.expected.value}")
    if row.regression is not None:
        marks.append("regression")
    about = f"{escape(row.title)} <small>{escape(', '.join(row.requirements))}</small>"
    findings = "".join(f"<li>{escape(str(finding))}" for finding in result.findings)
    return (
        f'<tr><td><a href="#t{result.case}">{result.case}</a>'
        f'<td class="verdict">{"<br>".join(marks)}<td>{result.ending.value}'
        f"<td>{result.seconds:.2f}<td>{about}{f'<ul>{findings}</ul>' if findings else ''}\n"
    )


def _transcript(row: Row) -> str:
    result = row.result
    shown = result.transcript[:MAX_SHOWN]
    if len(shown) < len(result.transcript):
        shown += f"…\nThe rest is in {result.case}.txt.\n"
    # The id is inside, since browsers unfold what contains the target of a link.
    return (
        f"<details><summary>{result.case} {escape(row.title)}</summary>"
        f'<pre id="t{result.case}">{escape(shown)}</pre></details>\n'
    )
