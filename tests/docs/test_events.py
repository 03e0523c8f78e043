"""docs/logging.md has every event that galileod logs, with its level and its fields.

An event is a literal first argument of a call of a logger's method; a name that its module gives to
a string is one, too.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from attrs import frozen
from docs.source import calls, calls_in, strings_of, trees
from docs.tables import DOCS, codes, rows, section

TEXT: Final = (DOCS / "logging.md").read_text()
TABLE: Final = {
    codes(row[0])[0]: (set(row[1].split(", ")), set(codes(row[2])))
    for row in rows(section(TEXT, "Events"))
}
COMMON: Final = {codes(row[0])[0] for row in rows(section(TEXT, "Fields"))}
"""Fields that a logger is bound with, or that each line has."""

LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
METHODS: Final = {*LEVELS, "log"}
LOGGER: Final = re.compile(r"(\w+\.)*_?log|structlog\.get_logger\(\)")


@frozen
class Line:
    """One place that logs."""

    event: str
    levels: frozenset[str]
    fields: frozenset[str]


def lines() -> Iterator[Line]:
    for tree in trees():
        known = strings_of(tree)
        for call in calls_in(tree):
            match call.func:
                case ast.Attribute(logger, method) if method in METHODS:
                    if LOGGER.fullmatch(ast.unparse(logger)):
                        yield line(method, call, known)


def line(method: str, call: ast.Call, known: Mapping[str, str]) -> Line:
    arguments = list(call.args)
    levels = {LEVELS.get(method, "")}
    if method == "log":
        names = re.findall(r"logging\.([A-Z]+)", ast.unparse(arguments.pop(0)))
        levels = {name.lower() for name in names}
    match arguments:
        case [ast.Constant(str(event))]:
            pass
        case [ast.Name(name)]:
            event = known[name]
        case _:
            pytest.fail(f"an event that cannot be read: {ast.unparse(call)}")
    fields = {"exception" if each.arg == "exc_info" else each.arg for each in call.keywords}
    if method == "exception":
        fields.add("exception")
    return Line(event, frozenset(levels), frozenset(field for field in fields if field))


def bound() -> set[str]:
    """Fields that some logger is bound with."""
    return {
        each.arg
        for call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "bind"
        and LOGGER.fullmatch(ast.unparse(call.func.value))
        for each in call.keywords
        if each.arg
    }


def test_the_table_has_every_event_and_no_other() -> None:
    assert {each.event for each in lines()} == set(TABLE)


def test_the_table_has_the_levels_of_each_event() -> None:
    levels: defaultdict[str, set[str]] = defaultdict(set)
    for each in lines():
        levels[each.event] |= each.levels
    assert {event: row[0] for event, row in TABLE.items()} == levels


def test_the_table_has_the_fields_of_each_event() -> None:
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for each in lines():
        fields[each.event] |= each.fields
    possible = bound() - COMMON
    for event, (_, told) in TABLE.items():
        assert fields[event] <= told, event
        # What the call does not name was bound to its logger before.
        assert told - fields[event] <= possible, event


def test_every_field_that_is_bound_is_described() -> None:
    somewhere = COMMON.union(*(told for _, told in TABLE.values()))
    # The daemon counts failures by `network`, and removes it before a line is written.
    assert bound() - {"network"} <= somewhere
