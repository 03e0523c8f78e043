"""Text from clients and servers, made safe to print; which invisible characters a name may have."""

import re
import unicodedata
from typing import Final

JOINERS: Final = "\u200c\u200d"
"""Invisible characters that some scripts and emoji need."""

FLAG: Final = re.compile("(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,7}\U000e007f)")
"""The flag of a region, such as England: a black flag, tags, and an end (UTS 51, annex C).

The tags are the letters and digits of the region's code. Unicode defines no other emoji with tags;
elsewhere they are invisible text."""

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""The categories of control and formatting characters, surrogates, and line separators."""


def printable(text: str) -> str:
    """An untrusted string as one line without terminal control sequences.

    Control characters and invisible ones are escaped, except JOINERS and the tags of a FLAG, so
    that a file name can neither control the terminal nor look like another line.
    """
    if text.isprintable():
        return text  # most are
    parts = FLAG.split(text)  # every second one is a flag
    for at in range(0, len(parts), 2):
        parts[at] = "".join(map(_escaped, parts[at]))
    return "".join(parts)


def _escaped(char: str) -> str:
    if unicodedata.category(char) in _INVISIBLE and char not in JOINERS:
        return char.encode("unicode_escape").decode()
    return char
