"""Fails for modules that are too long, and for words that this project's text does not use.

    python .ci/check_text.py [DIRECTORY]

It reads the files that git knows in DIRECTORY, which is the current one by default. `make check`
calls it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_LINES: Final = 400
"""Lines of a module of galileod, in Python or JavaScript."""

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
"""Suffixes of files with text; Makefile and .ci/run have none."""

SKIPPED: Final = ("tests/", "galileod/web/vendor/", ".ci/check_text.py", "LICENSE", ".git")
"""Beginnings of the paths of files that are not checked."""

_BREAK: Final = r"\s+(?:(?:#|//|\*)\s*)?"
"""Between two words: space, or the end of a line with the start of a comment's next one."""

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
    """A line for each mistake in the files of `root`."""
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
    """Print the mistakes; the status is 1 if there are any."""
    mistakes = list(check(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    for mistake in mistakes:
        print(mistake)  # noqa: T201
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
