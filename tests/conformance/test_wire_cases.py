"""The cases of sections 6, 7 and 11, against peers that are correct or wrong in one requirement."""

import pytest
import trio.testing
from conformance.in_process import failed, judge_client, judge_server
from conformance.reference.wire_client import WireClient
from conformance.reference.wire_server import WireServer

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.case import CLIENT_CASES, SERVER_CASES, ClientCase, ServerCase
from galileod.conformance.requirements import LEVELS
from galileod.conformance.verdicts import Level, Result, Verdict

SECTIONS = ("6", "7", "11")

SERVER = [case for number, case in SERVER_CASES.items() if number.split(".")[0] in SECTIONS]
CLIENT = [case for number, case in CLIENT_CASES.items() if number.split(".")[0] in SECTIONS]
REQUIREMENTS = [name for name in LEVELS if name[1:].split(".")[0] in SECTIONS]


def finds(result: Result, requirement: str) -> bool:
    """Whether the case says that the requirement does not hold."""
    if LEVELS[requirement] is Level.MUST:
        return failed(result, requirement)
    return result.verdict is Verdict.NON_STRICT and all(
        finding.requirement == requirement for finding in result.findings
    )


@pytest.mark.parametrize("case", SERVER, ids=lambda case: case.number)
async def test_a_correct_server_passes(
    case: ServerCase, autojump_clock: trio.testing.MockClock
) -> None:
    result = await judge_server(case, WireServer())
    assert result.verdict is Verdict.PASS, f"{result.findings}\n{result.transcript}"


@pytest.mark.parametrize("case", CLIENT, ids=lambda case: case.number)
async def test_a_correct_client_passes(
    case: ClientCase, autojump_clock: trio.testing.MockClock
) -> None:
    result = await judge_client(case, WireClient())
    assert result.verdict is Verdict.PASS, f"{result.findings}\n{result.transcript}"


@pytest.mark.parametrize("requirement", [name for name in REQUIREMENTS if name.startswith("S")])
async def test_a_server_that_violates_a_requirement_is_found(
    requirement: str, autojump_clock: trio.testing.MockClock
) -> None:
    results = [
        await judge_server(case, WireServer(requirement))
        for case in SERVER
        if requirement in case.requirements
    ]
    assert any(finds(result, requirement) for result in results), results


@pytest.mark.parametrize("requirement", [name for name in REQUIREMENTS if name.startswith("C")])
async def test_a_client_that_violates_a_requirement_is_found(
    requirement: str, autojump_clock: trio.testing.MockClock
) -> None:
    results = [
        await judge_client(case, WireClient(requirement))
        for case in CLIENT
        if requirement in case.requirements
    ]
    assert any(finds(result, requirement) for result in results), results
