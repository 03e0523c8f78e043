"""The documents as tests read them: tables, code spans, links, anchors."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_CELL_END: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"\|[-:| ]+\|")
_FENCE: Final = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, without the heads."""
    lines = _FENCE.sub("", text).splitlines()
    inside = False
    for line in lines:
        if _RULE.fullmatch(line):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside:
            yield [cell.strip() for cell in _CELL_END.split(line)[1:-1]]


def codes(cell: str) -> list[str]:
    """What stands in backquotes in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    found = list(_HEADING.finditer(_FENCE.sub(lambda fence: " " * len(fence[0]), text)))
    (start,) = (match for match in found if match[2] == heading)
    ends = [
        match.start()
        for match in found
        if match.start() > start.start() and len(match[1]) <= len(start[1])
    ]
    return text[start.end() : ends[0] if ends else len(text)]


def headings(text: str) -> list[str]:
    """The text of each heading."""
    return [match[2] for match in _HEADING.finditer(_FENCE.sub("", text))]


def without_code(text: str) -> str:
    """The text without its code blocks."""
    return _FENCE.sub("", text)
