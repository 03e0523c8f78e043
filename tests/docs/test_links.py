"""Every link within the repository leads to a file, and to a heading in it."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from docs.tables import ROOT, headings, without_code

PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK: Final = re.compile(r"""(?:\]\(|\b(?:src|href)=")([^)"\s]+)""")
"""Inline links and pictures, in Markdown or HTML; a link's text may go over two lines."""


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(path.read_text()):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(path: Path) -> list[str]:
    return [
        target
        for target in LINK.findall(without_code(path.read_text()))
        if not re.match(r"[a-z]+:", target)
    ]


def test_the_pages_have_links() -> None:
    assert len(PAGES) > 2
    assert links(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target
