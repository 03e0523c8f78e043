"""The cases that judge a client for sections 1 to 5, against a reference client."""

import pytest
from conformance.in_process import failed, judge_client
from conformance.reference.client import SWITCHES, ReferenceClient

import galileod.conformance.cases  # noqa: F401  # the import registers the cases
from galileod.conformance.case import CLIENT_CASES, ClientCase
from galileod.conformance.requirements import LEVELS
from galileod.conformance.verdicts import Level, Verdict

SECTIONS = ("1", "2", "3", "4", "5")
CASES = [case for number, case in CLIENT_CASES.items() if number.split(".")[0] in SECTIONS]

NOT_JUDGED = {"C5.4", "C5.6"}
"""The reference client shows nothing to anybody."""

MUSTS = [
    requirement
    for requirement, level in LEVELS.items()
    if requirement[0] == "C" and requirement[1:].split(".")[0] in SECTIONS and level is Level.MUST
]

DECLARED = [
    (case, requirement)
    for case in CASES
    for requirement in case.requirements
    if requirement in MUSTS
]


def switches(requirement: str) -> list[str]:
    return [switch for switch in SWITCHES if switch.split(maxsplit=1)[0] == requirement]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
@pytest.mark.parametrize("reads_ahead", [False, True], ids=["in turn", "reading ahead"])
async def test_a_correct_client_passes(
    case: ClientCase, reads_ahead: bool, autojump_clock: object
) -> None:
    del autojump_clock
    result = await judge_client(case, ReferenceClient(reads_ahead=reads_ahead).send)
    judged = [finding for finding in result.findings if finding.requirement not in NOT_JUDGED]
    assert (judged, result.verdict is Verdict.HARNESS_ERROR) == ([], False)


@pytest.mark.parametrize(
    ("case", "requirement"), DECLARED, ids=[f"{c.number}-{r}" for c, r in DECLARED]
)
async def test_a_case_finds_a_violation_of_each_requirement_that_it_declares(
    case: ClientCase, requirement: str, autojump_clock: object
) -> None:
    del autojump_clock
    for switch in switches(requirement):
        result = await judge_client(case, ReferenceClient(switch, reads_ahead=True).send)
        if failed(result, requirement):
            return
    pytest.fail(f"the case passes each client that violates {requirement}")


@pytest.mark.parametrize("switch", SWITCHES)
async def test_each_violation_is_found(switch: str, autojump_clock: object) -> None:
    del autojump_clock
    requirement = switch.split(maxsplit=1)[0]
    for case in CASES:
        if requirement in case.requirements:
            result = await judge_client(case, ReferenceClient(switch, reads_ahead=True).send)
            if failed(result, requirement):
                return
    pytest.fail(f"no case finds a client that {SWITCHES[switch]}")


@pytest.mark.parametrize("requirement", MUSTS)
def test_each_requirement_has_a_case_and_a_switch(requirement: str) -> None:
    assert any(requirement in case.requirements for case in CASES)
    assert switches(requirement)
