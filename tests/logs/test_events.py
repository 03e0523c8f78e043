"""The table of events has every event that the code logs, and no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import galileod
from galileod.logs.events import EVENTS

METHODS = ("debug", "info", "warning", "error", "critical", "exception", "log")


def logged(tree: ast.AST) -> Iterator[ast.expr]:
    """The argument that names the event, in each call of a logger."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        logger = node.func.value
        name = logger.attr if isinstance(logger, ast.Attribute) else getattr(logger, "id", "")
        if name in ("log", "_log") and node.func.attr in METHODS:
            yield node.args[1 if node.func.attr == "log" else 0]


def test_the_events_that_the_code_logs_are_those_of_the_table() -> None:
    root = Path(galileod.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for event in logged(ast.parse(path.read_text())):
            assert isinstance(event, ast.Constant), f"{path}: an event is a literal"
            found.add(event.value)
    assert found == EVENTS.keys()
