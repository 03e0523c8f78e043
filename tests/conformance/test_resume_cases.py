"""The cases of section 8 find what they are for, in servers and clients that have one mistake."""

from typing import Final

import pytest
from conformance.in_process import failed, judge_client, judge_server
from conformance.reference.resuming_client import ResumingClient
from conformance.reference.resuming_server import ResumingServer

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.case import CLIENT_CASES, SERVER_CASES
from galileod.conformance.requirements import LEVELS
from galileod.conformance.verdicts import Level, Result, Verdict

TOKENS: Final = ("token of one", "token of another")
SERVER: Final = {n: case for n, case in SERVER_CASES.items() if n.startswith("8.")}
CLIENT: Final = {n: case for n, case in CLIENT_CASES.items() if n.startswith("8.")}

SERVER_MISTAKES: Final = [
    *("S8.1", "S8.1b", "S8.2", "S8.2b", "S8.3", "S8.4", "S8.4b", "S8.5", "S8.5b", "S8.6", "S8.6b"),
    *("S8.7", "S8.8", "S8.8b", "S8.8c", "S8.9", "S8.10", "S8.11", "S8.12", "S8.13", "S8.13b"),
    *("S8.14", "S8.15", "S8.15b", "S8.16", "S8.17", "S8.17b", "S8.18", "S8.19", "S8.19b", "S8.20"),
    *("S8.21", "S8.21b", "S8.21c", "S8.22", "S8.22b", "S8.22c", "S8.23", "S8.23b", "S8.24"),
    *("S8.25", "S8.25b"),
]
CLIENT_MISTAKES: Final = [
    *("C8.1", "C8.1b", "C8.1c", "C8.2", "C8.2b", "C8.2c", "C8.2d", "C8.3", "C8.3b", "C8.4"),
    *("C8.5", "C8.6", "C8.7", "C8.8", "C8.9", "C8.11"),
]
NO_CASE: Final = {"C8.10", "C8.12"}
"""SHOULDs about the user of a client."""


def about(requirement: str, result: Result) -> bool:
    """Whether a result says that the requirement does not hold."""
    if LEVELS[requirement] is Level.MUST:
        return failed(result, requirement)
    return any(finding.requirement == requirement for finding in result.findings)


def shown(result: Result) -> str:
    return f"{result.verdict} {result.findings}\n{result.transcript}"


@pytest.mark.parametrize("number", SERVER)
async def test_a_correct_server_passes(number: str, autojump_clock: object) -> None:
    result = await judge_server(SERVER[number], ResumingServer(), TOKENS)
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("number", SERVER)
async def test_a_server_of_the_first_version_violates_nothing(
    number: str, autojump_clock: object
) -> None:
    case = SERVER[number]
    result = await judge_server(case, ResumingServer(offers=False), TOKENS)
    silence = case.requirements in {("S8.2",), ("S8.23",)}
    expected = Verdict.PASS if silence else Verdict.UNSUPPORTED
    assert result.verdict is expected, shown(result)


@pytest.mark.parametrize("mistake", SERVER_MISTAKES)
async def test_a_mistake_of_a_server_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("abcd")
    cases = [case for case in SERVER.values() if requirement in case.requirements]
    for case in cases:
        if about(requirement, await judge_server(case, ResumingServer(mistake), TOKENS)):
            return
    pytest.fail(f"none of {[case.number for case in cases]} finds it")


@pytest.mark.parametrize("by_itself", [True, False])
@pytest.mark.parametrize("number", CLIENT)
async def test_a_correct_client_passes(
    number: str, *, by_itself: bool, autojump_clock: object
) -> None:
    result = await judge_client(CLIENT[number], ResumingClient(by_itself=by_itself))
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("number", CLIENT)
async def test_a_client_of_the_first_version_violates_nothing(
    number: str, autojump_clock: object
) -> None:
    case = CLIENT[number]
    result = await judge_client(case, ResumingClient(offers=False))
    expected = Verdict.PASS if case.profile == "core" else Verdict.UNSUPPORTED
    assert result.verdict is expected, shown(result)


@pytest.mark.parametrize("mistake", CLIENT_MISTAKES)
async def test_a_mistake_of_a_client_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("abcd")
    cases = [case for case in CLIENT.values() if requirement in case.requirements]
    for case in cases:
        if about(requirement, await judge_client(case, ResumingClient(mistake))):
            return
    pytest.fail(f"none of {[case.number for case in cases]} finds it")


async def test_a_client_that_remembers_nothing_is_not_judged(autojump_clock: object) -> None:
    async def forgetful(*arguments: object) -> bool:
        return await ResumingClient(by_itself=False)(*arguments)  # type: ignore[arg-type]

    result = await judge_client(CLIENT["8.2.5"], forgetful)
    assert result.verdict is Verdict.UNSUPPORTED, shown(result)


def test_each_requirement_of_the_section_has_a_case_and_a_mistake() -> None:
    cases = [*SERVER.values(), *CLIENT.values()]
    section = {r for r in LEVELS if r.startswith(("S8.", "C8."))} - NO_CASE
    declared = {r for case in cases for r in case.requirements if r in section}
    mistakes = {mistake.rstrip("abcd") for mistake in SERVER_MISTAKES + CLIENT_MISTAKES}
    assert declared == section
    assert mistakes == section
