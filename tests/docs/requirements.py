"""The numbered requirements of docs/protocol.md."""

import re
from typing import Final

from docs.tables import ROOT

_REQUIREMENT: Final = re.compile(r"^- \*\*([SC]\d+\.\d+)\*\* (.*(?:\n  .*)*)", re.MULTILINE)

_LEVEL: Final = re.compile(r"\b(MUST|SHOULD)\b")


def read_requirements() -> dict[str, str]:
    """Each requirement's number, and its sentences on one line."""
    document = (ROOT / "docs" / "protocol.md").read_text()
    found = _REQUIREMENT.findall(document)
    numbers = [number for number, _ in found]
    assert len(set(numbers)) == len(numbers), "a number is used twice"
    return {number: " ".join(text.split()) for number, text in found}


def read_levels() -> dict[str, str]:
    """Each requirement's number, and MUST or SHOULD."""
    levels = {}
    for number, text in read_requirements().items():
        (level,) = set(_LEVEL.findall(text)) or {"none"}
        levels[number] = level
    return levels
