"""Wrong usage of `galileod`: one line that says what is wrong, and where help is."""

import pytest
from click.shell_completion import ShellComplete
from helpers.daemon import run_galileod

from galileod.cli.main import cli

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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("galileod tok", {"token"}),
        ("galileod token re", {"revoke"}),
        ("galileod uploads ", {"list", "discard"}),
        ("galileod uploads --j", {"--json"}),
        ("galileod --", {"--help", "--version", "--config", "--listen", "--directory"}),
        ("galileod --config x --max", {"--max-file-size"}),
    ],
)
def test_a_shell_completes_commands_and_the_options_of_the_default_one(
    words: str, expected: set[str]
) -> None:
    *before, incomplete = words.split(" ")
    shell = ShellComplete(cli, {}, "galileod", "_GALILEOD_COMPLETE")
    found = [item.value for item in shell.get_completions(before[1:], incomplete)]
    assert len(found) == len(set(found))
    assert expected <= set(found)
    assert all(value.startswith(incomplete) for value in found)
