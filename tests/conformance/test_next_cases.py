"""The cases of section 9 find what they are for, in servers and clients that have one mistake."""

import sys
from functools import partial
from typing import Final

import pytest
import trio
from conformance.in_process import failed, judge_client, judge_many_client, judge_server
from conformance.reference.many_client import ManyClient
from conformance.reference.many_server import ManyServer

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.case import CLIENT_CASES, SERVER_CASES
from galileod.conformance.client_command import command_starter, offers, parse_command
from galileod.conformance.requirements import LEVELS
from galileod.conformance.runner import run_client_cases
from galileod.conformance.verdicts import Result, Verdict

TOKENS: Final = ("token of one", "token of another")
SERVER: Final = {n: case for n, case in SERVER_CASES.items() if n.startswith("9.")}

CLIENT: Final = {n: case for n, case in CLIENT_CASES.items() if n.startswith("9.")}

SERVER_MISTAKES: Final = [
    *("S9.1", "S9.1b", "S9.2", "S9.3", "S9.4", "S9.4b", "S9.5", "S9.6", "S9.7", "S9.7b", "S9.7c"),
    *("S9.8", "S9.9", "S9.9b", "S9.10", "S9.11", "S9.11b", "S9.11c", "S9.11e", "S9.11f", "S9.12"),
    *("S9.13", "S9.13b"),
]
CLIENT_MISTAKES: Final = [
    *("C9.1", "C9.2", "C9.2b", "C9.3", "C9.3b", "C9.3c", "C9.4", "C9.4b", "C9.5", "C9.6", "C9.7"),
    *("C9.8", "C9.9", "C9.10", "C9.11", "C8.1"),
]


def shown(result: Result) -> str:
    return f"{result.verdict} {result.findings}\n{result.transcript}"


@pytest.mark.parametrize("number", SERVER)
async def test_a_correct_server_passes(number: str, autojump_clock: object) -> None:
    result = await judge_server(SERVER[number], ManyServer(tokens=TOKENS), TOKENS)
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("offers", [frozenset(), frozenset({"resume"})])
@pytest.mark.parametrize("number", SERVER)
async def test_a_server_without_the_extension_violates_nothing(
    number: str, offers: frozenset[str], autojump_clock: object
) -> None:
    result = await judge_server(SERVER[number], ManyServer(offers=offers, tokens=TOKENS), TOKENS)
    assert result.verdict is Verdict.UNSUPPORTED, shown(result)
    assert result.seconds == 0


@pytest.mark.parametrize("mistake", SERVER_MISTAKES)
async def test_a_mistake_of_a_server_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("abcdef")
    cases = [case for case in SERVER.values() if requirement in case.requirements]
    results = [
        await judge_server(case, ManyServer(mistake, tokens=TOKENS), TOKENS) for case in cases
    ]
    assert any(failed(result, requirement) for result in results), list(map(shown, results))


@pytest.mark.parametrize("number", CLIENT)
async def test_a_correct_client_passes(number: str, autojump_clock: object) -> None:
    result = await judge_many_client(CLIENT[number], ManyClient())
    assert result.verdict is Verdict.PASS, shown(result)


@pytest.mark.parametrize("number", CLIENT)
async def test_a_client_that_waits_for_each_answer_violates_nothing(
    number: str, autojump_clock: object
) -> None:
    result = await judge_many_client(CLIENT[number], ManyClient(most=1))
    expected = Verdict.SKIPPED if number == "9.2.6" else Verdict.PASS
    assert result.verdict is expected, shown(result)


@pytest.mark.parametrize("number", CLIENT)
async def test_a_client_without_the_extension_violates_nothing(
    number: str, autojump_clock: object
) -> None:
    result = await judge_many_client(CLIENT[number], ManyClient(can=()))
    assert result.verdict is Verdict.UNSUPPORTED, shown(result)
    assert result.seconds == 0


@pytest.mark.parametrize("number", CLIENT)
async def test_a_client_that_is_told_one_file_is_not_judged(number: str) -> None:
    async def send(*_: object) -> bool:
        raise AssertionError("it must not be started")

    assert (await judge_client(CLIENT[number], send)).verdict is Verdict.SKIPPED


@pytest.mark.parametrize("mistake", CLIENT_MISTAKES)
async def test_a_mistake_of_a_client_is_found(mistake: str, autojump_clock: object) -> None:
    requirement = mistake.rstrip("abc")
    cases = [case for case in CLIENT.values() if requirement in case.requirements]
    results = [await judge_many_client(case, ManyClient(mistake)) for case in cases]
    assert any(failed(result, requirement) for result in results), list(map(shown, results))


def test_each_requirement_has_a_case_and_a_mistake() -> None:
    sections = {number for number in LEVELS if number.startswith(("S9.", "C9."))}
    declared = {r for case in (*SERVER.values(), *CLIENT.values()) for r in case.requirements}
    assert sections <= declared
    assert sections <= {mistake.rstrip("abcdef") for mistake in SERVER_MISTAKES + CLIENT_MISTAKES}


async def test_a_command_gets_the_paths_of_all_files_as_words() -> None:
    words = parse_command(
        f"{sys.executable} -c 'import sys; print(len(sys.argv))' {{url}} {{files}}"
    )
    opened = partial(command_starter, words)
    cases = [CLIENT["9.2.1"]]
    with trio.fail_after(30):
        [result] = [r async for r in run_client_cases(cases, opened, offers(words), 0.3)]
    # It does not connect: what it wrote is in the finding.
    assert result.verdict is Verdict.HARNESS_ERROR
    assert result.findings[0].sentence.endswith("9\\n"), result.findings


def test_only_a_command_with_the_word_for_all_files_sends_many() -> None:
    assert offers(parse_command("send {url} {files}")) == {"command", "files"}
    assert offers(parse_command("send {url} {file}")) == {"command"}
    with pytest.raises(ValueError, match="does not contain"):
        parse_command("send {url} x{files}")
