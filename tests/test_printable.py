"""Text of others on a terminal: nothing acts on it, and what people can read stays readable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.printable import printable

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
ESCAPED = r"\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Übergrößenträger 🚀.txt", "Übergrößenträger 🚀.txt"),
        ("👩‍🚀", "👩‍🚀"),
        (ENGLAND + ".png", ENGLAND + ".png"),
        ("a" + ENGLAND[1:], "a" + ESCAPED),
        ("\u2028", r"\u2028"),
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("[bold]", "[bold]"),
    ],
)
def test_nothing_that_acts_on_a_terminal_gets_through(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_a_plain_text_is_one_line_that_can_be_printed(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert not [char for char in shown if unicodedata.category(char) == "Cc"]
