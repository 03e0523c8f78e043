"""Wrong usage of `galileod`: one line that says what is wrong, and where help is."""

import pytest
from helpers.daemon import run_galileod

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["token"], "Missing command. Try galileod token --help."),
        (["token", "add"], "Missing argument 'USER'. Try galileod token add --help."),
        (["serve", "x"], "Got unexpected extra argument (x). Try galileod serve --help."),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(arguments: list[str], line: str) -> None:
    done = run_galileod(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"galileod: {line}\n"
