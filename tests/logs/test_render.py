"""A line as JSON and as text at a terminal."""

import json

import pytest
from helpers.logged import lines, run

pytestmark = pytest.mark.timeout(30)


def test_long_texts_are_cut() -> None:
    (line,) = lines("log.info('x', name='n' * 5000, reason='r' * 1024, other='ok')")
    assert line["name"] == "n" * 1024 + "..."
    assert line["reason"] == "r" * 1024
    assert line["other"] == "ok"


def test_of_a_long_traceback_the_end_is_kept() -> None:
    (line,) = lines(
        """
        def deep(left):
            return deep(left - 1) if left % 2 else deeper(left)

        def deeper(left):
            if not left:
                raise KeyError("the cause")
            return deep(left - 1)

        try:
            deep(400)
        except KeyError:
            log.exception("x")
        """
    )
    assert len(line["exception"]) == 8192
    assert line["exception"].endswith("KeyError: 'the cause'")


def test_values_that_json_does_not_know_do_not_break_a_line() -> None:
    (line,) = lines("log.info('x', what=object(), data=b'\\xff', lone='\\ud800', path=sys)")
    assert line["event"] == "x"
    assert line["lone"] == "\ud800"


def test_the_console_form_is_for_people() -> None:
    text = run(
        "log.info('upload.stored', name='a.bin')\nlogging.warning('afar')\n"
        "try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception('broken')",
        form="console",
    )
    stored, afar, *broken = text.splitlines()
    assert "upload.stored       a.bin" in stored
    assert "\x1b" not in text
    assert "afar" in afar
    assert any("ZeroDivisionError" in line for line in broken)
    with pytest.raises(json.JSONDecodeError):
        json.loads(stored)


def test_the_console_form_cannot_be_made_to_lie_by_a_name() -> None:
    lie = "a\\n2030-01-01 [info] upload.stored\\x1b[2J\\r"
    text = run(
        f"log.info('upload.started', name='{lie}', user='{lie}', more=['{lie}'])\n"
        f"try:\n  raise OSError('\\x1b[2J')\nexcept OSError:\n  log.exception('broken')",
        form="console",
    )
    assert len([line for line in text.splitlines() if line.startswith("2")]) == 2
    assert "\x1b" not in text
