"""No case fails a peer for what docs/protocol.md leaves to it."""

from typing import Final

import pytest
from conformance.freedoms import CLIENT, SERVER, Box, FreeServer, free_client
from conformance.in_process import ReferenceServer, Send, judge_client, judge_server
from conformance.reference.client import ReferenceClient
from conformance.reference.many_server import ManyServer
from conformance.reference.resuming_client import ResumingClient
from conformance.reference.resuming_server import ResumingServer
from conformance.reference.server import Server
from conformance.reference.wire_client import WireClient
from conformance.reference.wire_server import WireServer

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.case import CLIENT_CASES, SERVER_CASES
from galileod.conformance.verdicts import Verdict

SLOW: Final = 0.5
"""Seconds: a tenth of the patience."""

BOXES: Final = {"slow": Box(delay=SLOW), "byte by byte": Box(byte_by_byte=True)}
SERVER_BOXES: Final = {**BOXES, **{name: Box(freedom) for name, freedom in SERVER.items()}}
CLIENT_BOXES: Final = {**BOXES, **{name: Box(freedom) for name, freedom in CLIENT.items()}}
TOKENS: Final = ("token of one", "token of another")


ONE_FILE: Final = [number for number in CLIENT_CASES if not number.startswith(("9.", "10."))]
NOT_JUDGED: Final = {"C5.4", "C5.6"}
"""The reference client shows nothing to anybody."""


def a_server(section: int) -> ReferenceServer:
    """The reference server that knows a section of the protocol."""
    if section > 8 and section != 11:
        return ManyServer(tokens=TOKENS)
    if section == 8:
        return ResumingServer()
    return WireServer() if section > 5 else Server()


def a_client(section: int) -> Send:
    """The reference client that knows a section of the protocol."""
    if section == 8:
        return ResumingClient()
    return WireClient() if section > 5 else ReferenceClient().send


@pytest.mark.parametrize("box", SERVER_BOXES)
@pytest.mark.parametrize("number", SERVER_CASES)
async def test_a_server_may_do_so(number: str, box: str, autojump_clock: object) -> None:
    section = int(number.partition(".")[0])
    server = FreeServer(a_server(section), SERVER_BOXES[box])
    tokens = TOKENS if section in {8, 9, 10} else ()
    result = await judge_server(SERVER_CASES[number], server, tokens)
    assert result.verdict in {Verdict.PASS, Verdict.INFO}, f"{result.findings}\n{result.transcript}"


@pytest.mark.parametrize("box", CLIENT_BOXES)
@pytest.mark.parametrize("number", ONE_FILE)
async def test_a_client_may_do_so(number: str, box: str, autojump_clock: object) -> None:
    if (number, box) == ("3.2.3", "slow"):
        pytest.skip("the reference client does not wait until its 1,024 chunks have passed")
    client = free_client(a_client(int(number.partition(".")[0])), CLIENT_BOXES[box])
    result = await judge_client(CLIENT_CASES[number], client)
    judged = [finding for finding in result.findings if finding.requirement not in NOT_JUDGED]
    wrong = [f for f in judged if f.verdict not in {Verdict.INFO, Verdict.UNSUPPORTED}]
    assert not wrong, f"{result.findings}\n{result.transcript}"
