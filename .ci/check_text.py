"""Checks the length of modules, and that comments and documentation do not use certain words.

    python .ci/check_text.py [DIRECTORY]

Reads the files in DIRECTORY, by default the current one, that git does not ignore. `make check`
runs it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_LINES: Final = 400
"""Maximum lines of a module of galileod, in Python or JavaScript."""

WORDS: Final = {
    "whoever": "name the client, process or user",
    "knocks?": "connects",
    "to whom it may concern": "name the reader",
    "shall": "must, should, or the present tense",
    "lets? go": "releases, closes",
    "a text(?! (?:file|frame|message))": "a string",
    "whole numbers?": "integer",
    "ordinary files?": "regular file",
    "of no use": "cannot be used, is not valid",
    "in vain": "without success",
    "at the most": "at most",
    "guests?": "connections",
}
"""Regular expressions, in lower case, and what to write instead."""

TEXT: Final = frozenset(
    {".1", ".conf", ".css", ".html", ".js", ".md", ".mjs", ".py", ".service", ".socket", ".toml",
     ".ts", ".yml", ""}
)  # fmt: skip
"""Suffixes of the files to check; Makefile and .ci/run have none."""

SKIPPED: Final = ("tests/", "galileod/web/vendor/", ".ci/check_text.py", "LICENSE", ".git")
"""Path prefixes of files that are not checked."""

_BREAK: Final = r"\s+(?:(?:#|//|\*)\s*)?"
"""Matches the space between two words, or a line break within a comment."""

_WORDS: Final = [
    (re.compile(rf"\b(?:{pattern.replace(' ', _BREAK)})\b"), instead)
    for pattern, instead in WORDS.items()
]


def find_words(text: str) -> Iterator[tuple[int, str, str]]:
    """Each occurrence of WORDS in `text`: its line, the words, and what to write instead."""
    lowered = text.lower()
    for pattern, instead in _WORDS:
        for match in pattern.finditer(lowered):
            line = text.count("\n", 0, match.start()) + 1
            yield line, " ".join(match[0].split()), instead


def is_module(path: str) -> bool:
    """Whether MAX_LINES applies to this file."""
    return path.startswith("galileod/") and path.endswith((".py", ".js"))


def check(root: Path) -> Iterator[str]:
    """Yield a message for each mistake in the files below `root`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for path in sorted(filter(None, listed.split("\0"))):
        file = root / path
        if path.startswith(SKIPPED) or file.suffix not in TEXT or not file.is_file():
            continue
        text = file.read_text("utf-8")
        lines = text.count("\n")
        if is_module(path) and lines > MAX_LINES:
            yield f"{path}: has {lines} lines: expected at most {MAX_LINES}"
        for line, words, instead in sorted(find_words(text)):
            yield f'{path}:{line}: "{words}": expected {instead}'


def main() -> None:
    """Print the mistakes; exit with status 1 if there are any."""
    mistakes = list(check(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    for mistake in mistakes:
        print(mistake)  # noqa: T201
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
