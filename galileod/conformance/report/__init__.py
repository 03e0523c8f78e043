"""The reports of a run: `index.json`, `index.html`, `junit.xml`, and a transcript for each case."""

from galileod.conformance.report.model import Report, Row
from galileod.conformance.report.write import prepare, write

__all__ = ["Report", "Row", "prepare", "write"]
