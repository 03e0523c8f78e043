"""The level: one for all loggers, those that exist included."""

import pytest
from helpers.logged import lines

pytestmark = pytest.mark.timeout(30)


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


def test_the_node_stands_in_all_lines_from_when_it_is_known() -> None:
    script = """
        log.info("before")
        logs.set_node("one")
        log.info("ours")
        log.bind(connection="1").warning("ours", user="anna")
        logging.getLogger("other").warning("theirs")
    """
    told = [(line["event"], line.get("node")) for line in lines(script)]
    assert told == [("before", None), ("ours", "one"), ("ours", "one"), ("theirs", "one")]
