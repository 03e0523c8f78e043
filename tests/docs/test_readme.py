"""README stays short."""

from typing import Final

from docs.tables import ROOT

MOST_WORDS: Final = 1500


def test_readme_has_at_most_1500_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS
