"""The log as it leaves a process: one form, whatever the line is about."""

import pytest
from helpers.logged import lines

pytestmark = pytest.mark.timeout(30)


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


def test_the_chatter_of_the_websocket_library_is_left_out() -> None:
    script = """
        logging.getLogger("trio-websocket").info("server-1 sending 12 bytes")
        logging.getLogger("trio-websocket").warning("odd")
    """
    assert [line["event"] for line in lines(script, level="debug")] == ["odd"]
