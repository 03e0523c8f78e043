"""The cases of section 10 find what they are for, in servers and clients that have one mistake."""

from typing import Final

import pytest
from conformance.in_process import failed, judge_many_client, judge_server
from conformance.reference.many_client import ManyClient
from conformance.reference.many_server import ManyServer
from conformance.test_next_cases import TOKENS, shown
from conformance.test_resume_cases import about

from galileod.conformance.case import CLIENT_CASES, SERVER_CASES
from galileod.conformance.verdicts import Verdict

SERVER: Final = {n: case for n, case in SERVER_CASES.items() if n.startswith("10.")}

CLIENT: Final = {n: case for n, case in CLIENT_CASES.items() if n.startswith("10.")}

SERVER_MISTAKES: Final = [
    *("S10.1", "S10.1b", "S10.2", "S10.2b", "S10.2c", "S10.2d", "S10.2e", "S10.2f", "S10.3"),
    *("S10.4", "S10.5", "S10.6"),
]


@pytest.mark.parametrize("number", SERVER)
async def test_a_correct_server_passes(number: str, autojump_clock: object) -> None:
    result = await judge_server(SERVER[number], ManyServer(tokens=TOKENS), TOKENS)
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("offers", [frozenset(), frozenset({"next"})])
@pytest.mark.parametrize("number", SERVER)
async def test_a_server_without_the_extension_violates_nothing(
    number: str, offers: frozenset[str], autojump_clock: object
) -> None:
    case = SERVER[number]
    result = await judge_server(case, ManyServer(offers=offers, tokens=TOKENS), TOKENS)
    expected = Verdict.PASS if case.profile == "core" else Verdict.UNSUPPORTED
    assert result.verdict is expected, shown(result)
    assert result.seconds == 0


@pytest.mark.parametrize("mistake", SERVER_MISTAKES)
async def test_a_mistake_of_a_server_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("abcdef")
    cases = [case for case in SERVER.values() if requirement in case.requirements]
    results = [
        await judge_server(case, ManyServer(mistake, tokens=TOKENS), TOKENS) for case in cases
    ]
    assert any(about(requirement, result) for result in results), list(map(shown, results))


@pytest.mark.parametrize("number", CLIENT)
async def test_a_correct_client_passes(number: str, autojump_clock: object) -> None:
    result = await judge_many_client(CLIENT[number], ManyClient())
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("can", [(), ("next",)])
@pytest.mark.parametrize("number", CLIENT)
async def test_a_client_without_the_extension_violates_nothing(
    number: str, can: tuple[str, ...], autojump_clock: object
) -> None:
    case = CLIENT[number]
    result = await judge_many_client(case, ManyClient(can=can))
    expected = Verdict.PASS if case.profile == "core" else Verdict.UNSUPPORTED
    assert result.verdict is expected, shown(result)
    assert result.seconds == 0


@pytest.mark.parametrize("mistake", ["C10.1", "C10.2", "C10.2b", "C10.3", "C10.4", "C10.5"])
async def test_a_mistake_of_a_client_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("b")
    cases = [case for case in CLIENT.values() if requirement in case.requirements]
    results = [await judge_many_client(case, ManyClient(mistake)) for case in cases]
    assert any(failed(result, requirement) for result in results), list(map(shown, results))
