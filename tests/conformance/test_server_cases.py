"""The cases that judge a server for sections 1 to 5, against a reference server."""

import itertools
from typing import Final

import pytest
from conformance.in_process import judge_server
from conformance.reference.server import SWITCHES, Server, Style

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.case import SERVER_CASES, ServerCase
from galileod.conformance.requirements import LEVELS
from galileod.conformance.verdicts import Ending, Level, Verdict

SECTIONS: Final = ("S1.", "S2.", "S3.", "S4.", "S5.")
CASES: Final = tuple(
    case for number, case in SERVER_CASES.items() if f"S{number}".startswith(SECTIONS)
)
REQUIREMENTS: Final = frozenset(number for number in LEVELS if number.startswith(SECTIONS))
STYLES: Final = {
    "credits": Style(),
    "original": Style(chunk=None, credits=1, ignores_metadata=True),
    "many credits": Style(chunk=1000, credits=1024),
    "other names": Style(renames=True),
    "large": Style(chunk=400_000, credits=1),
}
UNTESTABLE: Final = frozenset({"S4.17"})
"""Whether a server that lets a client wait sends Pings is seen only where one does let it wait."""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
async def test_a_correct_server_passes(
    autojump_clock: object, case: ServerCase, style: str
) -> None:
    result = await judge_server(case, Server(style=STYLES[style]))

    failing = [finding for finding in result.findings if finding.verdict is not Verdict.INFO]
    assert (result.verdict, failing) == (Verdict.PASS, [])
    assert result.ending in {Ending.CLEAN, Ending.NONE}


@pytest.mark.parametrize("switch", SWITCHES)
async def test_a_case_finds_the_violation(autojump_clock: object, switch: str) -> None:
    requirement = switch.split(maxsplit=1)[0]
    verdict = Verdict.FAIL if LEVELS[requirement] is Level.MUST else Verdict.NON_STRICT
    results = [
        await judge_server(case, Server(switch))
        for case in CASES
        if requirement in case.requirements
    ]

    found = [
        (finding.requirement, finding.verdict) for result in results for finding in result.findings
    ]
    assert (requirement, verdict) in found
    assert Verdict.HARNESS_ERROR not in {result.verdict for result in results}


def test_each_requirement_has_a_switch() -> None:
    assert {switch.split()[0] for switch in SWITCHES} == REQUIREMENTS - UNTESTABLE


def test_each_requirement_has_a_case() -> None:
    declared = itertools.chain.from_iterable(case.requirements for case in CASES)

    assert set(declared) >= REQUIREMENTS - UNTESTABLE
