"""The requirements of docs/protocol.md have unique numbers, one level each, and no gaps."""

import re
from itertools import groupby

from docs.requirements import read_levels
from docs.tables import ROOT

import galileod.conformance.cases  # noqa: F401  # registers them
from galileod.conformance.case import CLIENT_CASES, SERVER_CASES
from galileod.conformance.requirements import LEVELS


def test_each_requirement_has_one_level() -> None:
    assert set(read_levels().values()) == {"MUST", "SHOULD"}


def test_the_numbers_of_each_section_and_role_have_no_gaps() -> None:
    numbers = sorted((number[0], *map(int, number[1:].split("."))) for number in read_levels())
    for _, group in groupby(numbers, key=lambda number: number[:2]):
        found = [n for _, _, n in group]
        assert found == list(range(1, len(found) + 1)), found


def test_every_number_that_the_text_refers_to_exists() -> None:
    document = (ROOT / "docs" / "protocol.md").read_text()
    assert set(re.findall(r"\b[SC]\d+\.\d+\b", document)) == set(read_levels())


def test_the_conformance_kit_knows_the_level_of_each_requirement() -> None:
    assert {number: level.value for number, level in LEVELS.items()} == read_levels()


def test_each_must_has_a_case_that_judges_it() -> None:
    judged = {
        requirement
        for case in (*SERVER_CASES.values(), *CLIENT_CASES.values())
        for requirement in case.requirements
    }
    musts = {number for number, level in read_levels().items() if level == "MUST"}
    assert musts - judged == set()
    assert judged <= set(read_levels())
