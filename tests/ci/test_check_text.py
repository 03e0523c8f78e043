"""The check of the project's own text."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "check_text.py"


def check(root: Path, path: str, text: str) -> list[str]:
    """What is printed for a repository with this file alone."""
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, root], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == bool(done.stdout)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Whoever connects is admitted.", "whoever"),
        ("the count is a whole number", "whole number"),
        ("# a whole\n    # number", "whole # number"),
        ("A listener that is let go.", "let go"),
        ("it shall wait", "shall"),
    ],
)
def test_a_word_of_the_list_is_found_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (line,) = check(tmp_path, "docs/x.md", f"\n{text}\n")
    assert line.startswith(f'docs/x.md:2: "{words}": expected ')


@pytest.mark.parametrize(
    "text", ["A text frame, and text.", "This history, other, marshalled.", "numbers as a whole"]
)
def test_other_words_that_look_like_them_pass(tmp_path: Path, text: str) -> None:
    assert not check(tmp_path, "README.md", text)


@pytest.mark.parametrize(
    "path", ["tests/test_x.py", "galileod/web/vendor/x.js", "LICENSE", "x.png"]
)
def test_tests_and_the_files_of_others_are_not_searched(tmp_path: Path, path: str) -> None:
    assert not check(tmp_path, path, "whoever\n")


def test_a_module_of_400_lines_passes_and_one_of_401_does_not(tmp_path: Path) -> None:
    assert not check(tmp_path, "galileod/x.py", "pass\n" * 400)
    told = check(tmp_path, "galileod/x.py", "pass\n" * 401)
    assert told == ["galileod/x.py: has 401 lines: expected at most 400"]
    assert check(tmp_path, "galileod/web/core.js", ";\n" * 401)[0].startswith(
        "galileod/web/core.js"
    )


def test_the_length_of_a_test_or_a_document_is_not_limited(tmp_path: Path) -> None:
    assert not check(tmp_path, "docs/x.md", "line\n" * 500)
