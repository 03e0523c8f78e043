"""README stays short, and no document leads to another project of the same name."""

import re
from pathlib import Path
from typing import Final

import pytest
from docs.tables import DOCS, ROOT

MOST_WORDS: Final = 1500


def test_readme_has_at_most_1500_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


INSTALLED_BY_NAME: Final = re.compile(
    r"(?:pip3?|pipx|uv(?: tool| pip)?|uvx)(?: install| run| add)?(?: -\S+)*"
    r" ['\"]?galileod\b(?![-/])"
)
"""A command that would install the project that has this name on PyPI, which is another one."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install galileod", True),
        ("pip install --upgrade galileod[test]", True),
        ("pipx run galileod", True),
        ("uv tool install 'galileod'", True),
        ("pip install .", False),
        ("pip install ./galileod-1.whl", False),
        ("pip install galileod-1.whl", False),
    ],
)
def test_a_command_that_installs_by_name_is_recognized(text: str, found: bool) -> None:
    assert bool(INSTALLED_BY_NAME.search(text)) == found


@pytest.mark.parametrize("path", sorted([ROOT / "README.md", *DOCS.glob("*.md")]), ids=str)
def test_nobody_is_led_to_the_other_project_of_the_name(path: Path) -> None:
    warned = ("do not run `pip install galileod`", "`pipx install galileod`", "would install")
    for paragraph in path.read_text().split("\n\n"):
        if INSTALLED_BY_NAME.search(paragraph):
            assert any(words in paragraph for words in warned), paragraph
