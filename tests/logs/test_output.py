"""Where lines are written."""

import pytest
from helpers.logged import lines, run

pytestmark = pytest.mark.timeout(30)


def test_a_stream_that_takes_nothing_any_more_raises_nothing_and_prints_nothing() -> None:
    assert run("os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nlog.info('x')") == ""


def test_a_record_that_cannot_be_formatted_is_left_out() -> None:
    assert lines("logging.warning('%d', 'x')\nlog.info('x')")[0]["event"] == "x"


def test_lines_about_connections_that_cannot_be_accepted_are_seldom_and_have_no_traceback() -> None:
    script = """
        try:
            1 / 0
        except ZeroDivisionError:
            for _ in range(3):
                logging.getLogger("trio.serve_listeners").exception("accept failed")
    """
    (line,) = lines(script)
    assert line["event"] == "accept failed"
    assert "exception" not in line
