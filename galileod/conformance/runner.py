"""Runs the chosen cases, one after the other, and does not stop for one that goes wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

import attrs
import trio

from galileod.conformance.case import Case, ClientCase, ServerCase
from galileod.conformance.client import Client, Starter
from galileod.conformance.handshake import HandshakeError, Refused
from galileod.conformance.judge import CaseEnded, Judge, KitError
from galileod.conformance.server import Server
from galileod.conformance.target import Target
from galileod.conformance.trial import DEFAULT_PATIENCE, Trial
from galileod.conformance.verdicts import Result, worst_ending

OPTIONS: Final = {
    "listing": "--stored with a directory",
    "restart": "--restart",
    "kill": "--kill",
    "token": "--token-file with two tokens",
    "other_token": "--token-file with two tokens",
    "command": "--command",
    "files": "--command with {files}",
}
"""The option that gives what a case needs."""

AnyCase = TypeVar("AnyCase", bound=Case)
Body = Callable[[Trial], Awaitable[None]]


def choose(
    cases: Iterable[AnyCase], profiles: Sequence[str], numbers: Sequence[str]
) -> list[AnyCase]:
    """The cases of `profiles`, in order; with `numbers`, those with such a number or prefix.

    Raises ValueError for one of `numbers` that no case of the role has.
    """
    ordered = sorted(cases, key=lambda case: case.key)
    for number in numbers:
        if not any(_matches(case, number) for case in ordered):
            raise ValueError(f"there is no case {number} of this role")
    return [
        case
        for case in ordered
        if case.profile in profiles
        and (not numbers or any(_matches(case, number) for number in numbers))
    ]


async def run_server_cases(
    cases: Iterable[ServerCase], target: Target, patience: float
) -> AsyncIterator[Result]:
    """Judge a server; yield each result as it comes."""
    for case in cases:

        async def body(trial: Trial, case: ServerCase = case) -> None:
            await case.run(Server(target, trial), trial.judge)

        yield await run_case(case, body, target.offers, patience, target.tokens)


async def run_client_cases(
    cases: Iterable[ClientCase],
    open_starter: Callable[[], AbstractAsyncContextManager[Starter]],
    offers: frozenset[str],
    patience: float,
) -> AsyncIterator[Result]:
    """Judge a client, which `open_starter` makes send files; yield each result as it comes."""
    for case in cases:

        async def body(trial: Trial, case: ClientCase = case) -> None:
            async with open_starter() as starter:
                await case.run(Client(starter, trial), trial.judge)

        yield await run_case(case, body, offers, patience)


async def run_case(
    case: Case,
    body: Body,
    offers: frozenset[str],
    patience: float,
    secrets: Sequence[str] = (),
) -> Result:
    """Run one case, in its time limit.

    A limit that is exceeded while the case waits for the peer is a FAIL; any other, and every
    exception, is a HARNESS-ERROR. `secrets` are left out of the result.
    """
    judge = Judge(case.requirements)
    trial = Trial(judge, patience)
    start = trio.current_time()
    seconds = case.seconds * max(1, patience / DEFAULT_PATIENCE)
    scope = trio.move_on_after(seconds)
    try:
        with scope:
            if missing := case.needs - offers:
                judge.skip(f"the case needs {', '.join(sorted({OPTIONS[it] for it in missing}))}")
            await body(trial)
    except Exception as error:  # noqa: BLE001  # whatever a case raises is its result
        _record(judge, error)
    if scope.cancelled_caught:
        late = f"the case is not over within {seconds:g} s"
        if trial.waiting_for is not None:
            judge.check(None, holds=False, sentence=f"{late}: it waits for {trial.waiting_for}")
        else:
            judge.harness_error(late)
    return Result(
        case=case.number,
        verdict=judge.verdict,
        findings=tuple(
            attrs.evolve(finding, sentence=_mask(finding.sentence, secrets))
            for finding in judge.findings
        ),
        ending=worst_ending(trial.endings),
        transcript=_mask(str(trial.transcript), secrets),
        seconds=trio.current_time() - start,
    )


def _record(judge: Judge, error: Exception) -> None:
    """Take what a case raised; nurseries wrap it in groups."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            _record(judge, inner)
    elif isinstance(error, KitError | Refused | HandshakeError):
        judge.harness_error(str(error))
    elif not isinstance(error, CaseEnded):
        judge.harness_error(f"{type(error).__name__}: {error}")


def _mask(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "(token)")
    return text


def _matches(case: Case, number: str) -> bool:
    return case.number == number or case.number.startswith(f"{number}.")
