"""The log as it leaves a process: one JSON object a line, whatever the line is about."""

import json
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(30)

SET_UP = """
import gc, logging, os, sys, threading, warnings
import structlog
from galileod.logs import setup as logs
logs.set_up({level!r}, {form!r}, sys.stderr)
log = structlog.get_logger()
"""


def run(script: str, level: str = "info", form: str = "json", status: int = 0) -> str:
    """What a process that does `script` writes on standard error."""
    code = SET_UP.format(level=level, form=form) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        capture_output=True, check=False, timeout=25, text=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert done.returncode == status, done.stderr
    return done.stderr


def lines(script: str, level: str = "info", form: str = "json", status: int = 0) -> list[Any]:
    """The lines of the log; every one must be a whole object, with what each line has."""
    parsed = [json.loads(line) for line in run(script, level, form, status).splitlines()]
    for line in parsed:
        assert isinstance(line, dict)
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == UTC.utcoffset(None)
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert isinstance(line["event"], str)
    return parsed


@pytest.mark.parametrize("form", ["json", "auto"])
def test_a_call_is_a_line_with_its_fields(form: str) -> None:
    (line,) = lines(
        """
        bound = log.bind(connection="c0ffee", peer="192.0.2.1:4711")
        bound.info("upload.started", name="a\\nb\\x1b[31m\\u2028\\U0001f600", size=2**63 - 1)
        """,
        form=form,
    )
    del line["timestamp"]
    assert line == {
        "event": "upload.started", "level": "info", "connection": "c0ffee",
        "peer": "192.0.2.1:4711", "name": "a\nb\x1b[31m\u2028\U0001f600", "size": 2**63 - 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "status", "level", "event", "exception"),
    [
        ("warnings.warn('old ways')", 0, "warning", "old ways", None),
        ("logging.getLogger('other').error('from %s', 'afar')", 0, "error", "from afar", None),
        ("logging.warning('at the root')", 0, "warning", "at the root", None),
        (
            "try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception('upload.error')",
            0, "error", "upload.error", "ZeroDivisionError: division by zero",
        ),
        (
            "try:\n  1 / 0\nexcept ZeroDivisionError:\n  logging.exception('foreign')",
            0, "error", "foreign", "ZeroDivisionError: division by zero",
        ),
        (
            "try:\n  raise ValueError('a')\nexcept* ValueError:\n  log.exception('group')",
            0, "error", "group", "ValueError: a",
        ),
        ("raise KeyError('lost')", 1, "critical", "uncaught", "KeyError: 'lost'"),
        (
            "thread = threading.Thread(target=lambda: {}['lost'])\nthread.start()\nthread.join()",
            0, "error", "uncaught", "KeyError: 'lost'",
        ),
        (
            "class Odd:\n  def __del__(self): raise KeyError('lost')\nOdd()\ngc.collect()",
            0, "error", "unraisable", "KeyError: 'lost'",
        ),
        ("open(os.devnull)\ngc.collect()", 0, "warning", "ResourceWarning", None),
        ("async def f(): pass\nf()\ngc.collect()", 0, "warning", "was never awaited", None),
    ],
)  # fmt: skip
def test_whatever_speaks_speaks_json(
    script: str, status: int, level: str, event: str, exception: str | None
) -> None:
    (line,) = lines(script, status=status)
    assert line["level"] == level
    assert event in line["event"]
    assert (exception is None) == ("exception" not in line)
    if exception is not None:
        assert "Traceback (most recent call last)" in line["exception"]
        assert exception in line["exception"]


def test_an_exception_out_of_trio_is_one_line() -> None:
    (line,) = lines(
        """
        import trio

        async def fail():
            raise KeyError("lost")

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(fail)

        trio.run(main)
        """,
        status=1,
    )
    assert line["event"] == "uncaught"
    assert line["exception"].count("KeyError: 'lost'") == 2


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


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
    ],
)
def test_the_level_holds_for_our_lines_and_for_others(level: str, kept: list[str]) -> None:
    script = """
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)("ours")
            getattr(logging.getLogger("other"), name)("theirs")
    """
    told = [(line["event"], line["level"]) for line in lines(script, level=level)]
    assert told == [(whose, name) for name in kept for whose in ("ours", "theirs")]


def test_the_chatter_of_the_websocket_library_is_left_out() -> None:
    script = """
        logging.getLogger("trio-websocket").info("server-1 sending 12 bytes")
        logging.getLogger("trio-websocket").warning("odd")
    """
    assert [line["event"] for line in lines(script, level="debug")] == ["odd"]


def test_a_stream_that_takes_nothing_any_more_raises_nothing_and_prints_nothing() -> None:
    assert run("os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nlog.info('x')") == ""


def test_the_console_form_is_for_people() -> None:
    text = run(
        "log.info('upload.stored', name='a.bin')\nlogging.warning('afar')\n"
        "try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception('broken')",
        form="console",
    )
    stored, afar, *broken = text.splitlines()
    assert "upload.stored" in stored
    assert "name=a.bin" in stored
    assert "\x1b" not in text
    assert "afar" in afar
    assert any("ZeroDivisionError" in line for line in broken)
    with pytest.raises(json.JSONDecodeError):
        json.loads(stored)


def test_the_console_form_cannot_be_made_to_lie_by_a_name() -> None:
    text = run(
        "log.info('upload.started', name='a\\n2030-01-01 [info] upload.stored\\x1b[2J\\r')",
        form="console",
    )
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_a_new_level_holds_for_loggers_of_before_and_for_others() -> None:
    script = """
        bound = log.bind(connection="1")
        def speak(when):
            for name in ("debug", "info", "warning"):
                getattr(log, name)(when)
                getattr(bound.bind(), name)(when)
                bound.log(getattr(logging, name.upper()), when)
                getattr(logging.getLogger("other"), name)(when)
        speak("before")
        for level in ("warning", "debug", "info"):
            logs.set_level(level)
            speak(level)
    """
    told = [(line["event"], line["level"]) for line in lines(script)]
    assert told == [
        (when, level)
        for when, levels in (
            ("before", ["info", "warning"]),
            ("warning", ["warning"]),
            ("debug", ["debug", "info", "warning"]),
            ("info", ["info", "warning"]),
        )
        for level in levels
        for _ in range(4)
    ]


REPEATED = """
    def refuse(port, address="192.0.2.1", code=400):
        log.info("connection.refused", peer=f"{address}:{port}", status=code, reason="no")
"""


def of(told: list[Any], event: str) -> list[Any]:
    return [line for line in told if line["event"] == event]


def test_failures_that_repeat_are_counted_and_told_when_the_minute_is_over() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for port in range(100):
            refuse(port)
            log.warning("upload.failed", peer=f"192.0.2.1:{port}", code="idle", reason="r")
        refuse(1, code=404)
        refuse(1, "192.0.2.2")
        logs.tell_suppressed()
        refuse(1)
        logs.tell_suppressed()
        """)
    )
    assert len(of(told, "connection.refused")) == 23
    assert len(of(told, "upload.failed")) == 20
    suppressed = [
        {key: line[key] for key in ("level", "of", "code", "count")}
        for line in of(told, "log.suppressed")
    ]
    assert suppressed == [
        {"level": "warning", "of": "connection.refused", "code": "400", "count": 80},
        {"level": "warning", "of": "upload.failed", "code": "idle", "count": 80},
    ]
    assert told[-1]["event"] == "connection.refused"


def test_what_is_stored_is_always_written_and_errors_are_unless_a_client_meets_too_many() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for port in range(50):
            refuse(port)
            peer = {"peer": f"192.0.2.1:{port}"}
            log.info("upload.stored", **peer)
            log.info("connection.closed", stored=True, **peer)
            log.error("upload.failed", code="storage_failed", **peer)
            try:
                raise ValueError
            except ValueError:
                log.exception("connection.error", **peer)
            log.error("hook.failed", name="a")
        logs.tell_suppressed()
        """)
    )
    for event in ("upload.stored", "connection.closed", "hook.failed"):
        assert len(of(told, event)) == 50
    for event in ("connection.refused", "upload.failed", "connection.error"):
        assert len(of(told, event)) == 20
    assert {line["of"]: line["count"] for line in of(told, "log.suppressed")} == {
        "connection.refused": 30,
        "upload.failed": 30,
        "connection.error": 30,
    }


def test_a_flood_hides_no_line_that_no_client_caused() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for number in range(2000):
            refuse(1, f"10.0.{number // 250}.{number % 250}")
        log.warning("config.rejected", reason="r")
        """)
    )
    assert len(of(told, "connection.refused")) == 1000
    assert len(of(told, "config.rejected")) == 1


def test_a_server_with_many_sound_uploads_writes_the_story_of_each() -> None:
    told = lines(
        """
        for port in range(1000):
            peer = {"peer": f"192.0.2.1:{port}"}
            for event in ("connection.opened", "upload.started", "upload.stored"):
                log.info(event, **peer)
            log.info("connection.closed", stored=True, **peer)
        logs.tell_suppressed()
        """
    )
    assert len(told) == 4000


def test_connections_that_come_to_nothing_are_counted_from_their_beginning() -> None:
    told = lines(
        """
        for port in range(1000):
            peer = {"peer": f"[2001:db8::{port:x}]:1"}
            log.info("connection.opened", **peer)
            log.info("connection.closed", stored=False, **peer)
        log.info("connection.opened", peer="192.0.2.1:1")
        logs.tell_suppressed()
        """
    )
    assert len(told) == 21 + 20 + 1 + 2
    assert {line["of"]: line["count"] for line in of(told, "log.suppressed")} == {
        "connection.opened": 979,
        "connection.closed": 980,
    }
