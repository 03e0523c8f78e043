"""Writing the reports into a directory."""

import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from galileod.conformance.report import index, junit, page, transcripts
from galileod.conformance.report.model import Report

_REPORT: Final = re.compile(
    r"(\d+\.[12]\.\d+|connection-\d+)\.txt|index\.json|index\.html|junit\.xml"
)


def prepare(directory: Path) -> None:
    """Make the directory, and remove the reports of an earlier run. Raises OSError.

    Fails now where nothing can be written there, and not at the end of the run.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if _REPORT.fullmatch(path.name):
            path.unlink()
    with NamedTemporaryFile(dir=directory, prefix=".conformance-"):
        pass


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
