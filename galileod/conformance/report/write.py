"""Writing the reports into a directory."""

import re
from pathlib import Path
from typing import Final

from galileod.conformance.report import index, junit, page, transcripts
from galileod.conformance.report.model import Report

_TRANSCRIPT: Final = re.compile(r"\d+\.[12]\.\d+\.txt")


def prepare(directory: Path) -> None:
    """Make the directory, and remove the transcripts of an earlier run. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if _TRANSCRIPT.fullmatch(path.name):
            path.unlink()


def write(report: Report, directory: Path) -> None:
    """Write all reports. Raises OSError."""
    files = {
        "index.json": index.render(report),
        "index.html": page.render(report),
        "junit.xml": junit.render(report),
    }
    files |= {f"{row.result.case}.txt": transcripts.render(row) for row in report.rows}
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8", errors="backslashreplace")
