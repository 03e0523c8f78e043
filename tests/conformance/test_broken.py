"""The kit finds the mistakes of peers that were written from the protocol's text alone.

`broken/` has correct peers of both roles, and mistakes that can be put into them; they were made
without a look at the kit. `broken/found.py` has a case that finds each. `make soak` tries all, the
suite some of each role.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from conformance import control
from conformance.broken.found import CLIENT, SERVER
from helpers.daemon import free_port
from helpers.rounds import rounds

import galileod.conformance.cases  # noqa: F401  # registers them
from galileod.conformance.address import Address
from galileod.conformance.case import CLIENT_CASES, CLIENT_NEEDS, SERVER_CASES
from galileod.conformance.client_command import command_starter
from galileod.conformance.runner import run_client_cases, run_server_cases
from galileod.conformance.target import Directory, Target
from galileod.conformance.verdicts import Result, Verdict

HERE: Final = Path(__file__).parent
PATIENCE: Final = 2.0
"""Seconds; a mistake is often that something does not come."""


def some(found: dict[str, str]) -> list[str]:
    """Mistakes, evenly spread."""
    count = rounds(15, len(found))
    return [fault for number, fault in enumerate(found) if number * count % len(found) < count]


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Target]:
    """A server of `broken/`; some of its mistakes write into the directory above its own."""
    stored, state, port = folder / "above" / "files", folder / "state", free_port()
    stored.mkdir(parents=True)
    state.mkdir()
    program = [sys.executable, str(HERE / "broken" / "server.py"), "--port", str(port)]
    where = ["--directory", str(stored), "--state", str(folder / "above" / "kept")]
    control.start(state, port, [*program, *where, *options])
    program = [sys.executable, str(HERE / "control.py")]
    restart, kill = (*program, "restart", str(state)), (*program, "kill", str(state))
    try:
        address = Address.parse(f"ws://127.0.0.1:{port}/upload")
        yield Target(address, Directory(stored), restart, kill)
    finally:
        control.stop(state)


async def judge_server(target: Target, numbers: Sequence[str]) -> list[Result]:
    cases = [SERVER_CASES[number] for number in numbers]
    return [result async for result in run_server_cases(cases, target, PATIENCE)]


async def judge_client(numbers: Sequence[str], *options: str) -> list[Result]:
    cases = [CLIENT_CASES[number] for number in numbers]
    words = (sys.executable, str(HERE / "broken" / "client.py"), *options, "{url}", "{file}")
    starter = partial(command_starter, words)
    results = run_client_cases(cases, starter, CLIENT_NEEDS, PATIENCE)
    return [result async for result in results]


@pytest.mark.parametrize("fault", some(SERVER))
async def test_a_mistake_of_a_server_is_found(tmp_path: Path, fault: str) -> None:
    with serving(tmp_path, "--fault", fault) as target:
        [result] = await judge_server(target, [SERVER[fault]])
    assert result.verdict is Verdict.FAIL, result.transcript


@pytest.mark.parametrize("fault", some(CLIENT))
async def test_a_mistake_of_a_client_is_found(fault: str) -> None:
    [result] = await judge_client([CLIENT[fault]], "--fault", fault)
    assert result.verdict is Verdict.FAIL, result.transcript


async def test_the_same_cases_pass_for_the_correct_server(tmp_path: Path) -> None:
    numbers = sorted({SERVER[fault] for fault in some(SERVER)})
    with serving(tmp_path) as target:
        results = await judge_server(target, numbers)
    assert [(r.case, r.findings) for r in results if r.verdict is not Verdict.PASS] == []


async def test_the_same_cases_pass_for_the_correct_client() -> None:
    numbers = sorted({CLIENT[fault] for fault in some(CLIENT)})
    results = await judge_client(numbers)
    assert [(r.case, r.findings) for r in results if r.verdict is not Verdict.PASS] == []


def test_nearly_all_mistakes_are_found() -> None:
    """The aim was 27 of 30."""
    for role, found in (("server", SERVER), ("client", CLIENT)):
        listed = list_faults(role)
        assert set(found) <= set(listed)
        assert len(found) >= 0.9 * len(listed)


def list_faults(role: str) -> list[str]:
    command = [sys.executable, str(HERE / "broken" / f"{role}.py"), "--list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.partition(":")[0] for line in told.stdout.splitlines()]
