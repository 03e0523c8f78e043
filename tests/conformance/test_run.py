"""The client under test as a case sees it: a command that is started, connects and ends."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio
from helpers.conformance import DEADLINE, PATIENCE, new_trial

from galileod.conformance.case import CLIENT_NEEDS, ClientCase, ClientRun
from galileod.conformance.client import Client
from galileod.conformance.client_command import CommandStarter, command_starter, parse_command
from galileod.conformance.commands import MAX_OUTPUT
from galileod.conformance.judge import CaseEnded, Judge, KitError
from galileod.conformance.requirements import CLIENT_HANDSHAKE
from galileod.conformance.run import MAX_CONNECTIONS
from galileod.conformance.runner import run_client_cases
from galileod.conformance.trial import Trial
from galileod.conformance.verdicts import Ending, Result, Verdict

CLIENT: Final = """
import socket, sys, base64
from urllib.parse import urlsplit

HANDSHAKE = (
    b"GET /upload HTTP/1.1\\r\\nHost: h\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
    b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
)

def connect():
    url = urlsplit(sys.argv[1])
    s = socket.create_connection((url.hostname, url.port))
    s.sendall(HANDSHAKE)
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        head += s.recv(1) or sys.exit("refused")
    return s

def send(s, data, opcode=1):
    s.sendall(bytes([0x80 | opcode, 0x80 | len(data)]) + bytes(4) + data)

def receive(s):
    head = s.recv(2) or sys.exit("the connection was closed")
    return head[0] & 15, s.recv(head[1]) if head[1] else b""

"""
"""A client's means, for programs that are no good clients."""

METADATA: Final = 'send(s := connect(), b\'{"name":"a","size":3}\')\n'

GOOD: Final = (
    METADATA
    + """
receive(s); send(s, open(sys.argv[2], "rb").read(), 2)
receive(s); send(s, b'{"finished":true}')
assert b"close" in receive(s)[1]
send(s, b"\\x03\\xe8", 8); receive(s)
"""
)


@pytest.fixture
async def trial() -> Trial:
    return new_trial()


def sentences(trial: Trial) -> str:
    return "\n".join(finding.sentence for finding in trial.judge.findings)


@asynccontextmanager
async def a_client(script: str, trial: Trial) -> AsyncIterator[Client]:
    with trio.fail_after(DEADLINE):
        words = (sys.executable, "-c", CLIENT + script, "{url}", "{file}")
        async with command_starter(words) as starter:
            yield Client(starter, trial)


async def test_a_client_that_sends_a_file_succeeds(trial: Trial) -> None:
    async with a_client(GOOD + "print('done')", trial) as client, client.send(b"abc", "a") as run:
        connection = await run.accept()
        received = await connection.receive_file()
        await connection.close_signal()
        outcome = await run.outcome()
    assert received.metadata == {"name": "a", "size": 3}
    assert received.content == b"abc"
    assert outcome.success
    assert outcome.output == "done\n"
    assert trial.endings == [Ending.CLEAN]
    assert trial.judge.verdict is Verdict.PASS


async def test_a_client_that_ends_with_another_status_reports_failure(trial: Trial) -> None:
    script = METADATA + "assert b'no' in receive(s)[1]; sys.exit('it said no')"
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.error("no")
        outcome = await run.outcome()
    assert not outcome.success
    assert outcome.output == "it said no\n"


async def test_a_connection_that_the_case_does_not_expect_gets_a_fatal_error(trial: Trial) -> None:
    script = "s = connect(); s.close(); s = connect(); print(receive(s)[1].decode()); sys.exit(1)"
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        await run.accept()
        outcome = await run.outcome()
    assert '"fatal":true,"code":"bad_metadata"' in outcome.output


async def test_a_retry_that_the_case_expects_is_accepted(trial: Trial) -> None:
    script = METADATA + "s.recv(1) or print('lost'); " + METADATA + "s.recv(1)"
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        first = await run.accept()
        await first.metadata()
        await first.websocket.aclose()
        second = await run.accept()
        assert await second.metadata() == {"name": "a", "size": 3}
        await second.websocket.aclose()
        assert (await run.outcome()).output == "lost\n"
    assert trial.endings == [Ending.NONE, Ending.NONE]


async def test_a_retry_that_does_not_come_fails_the_case(trial: Trial) -> None:
    script = "connect(); sys.exit('given up')"
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        await run.accept()
        assert await run.accept_or_none() is None
        with pytest.raises(CaseEnded):
            await run.accept()
    assert trial.judge.verdict is Verdict.FAIL
    assert trial.judge.findings[0].sentence == (
        "the client has ended, expected one more connection: given up\\n"
    )


async def test_a_client_that_ends_at_once_is_an_error_with_its_output(trial: Trial) -> None:
    async with a_client("sys.exit('no such option')", trial) as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with client.send(b"abc") as run:
                await run.accept()
    assert caught.group_contains(KitError, match="the client has ended: no such option")


async def test_a_client_that_never_connects_is_an_error(trial: Trial) -> None:
    async with a_client("sys.stdin.close(); __import__('time').sleep(1000)", trial) as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with client.send(b"abc") as run:
                await run.accept(within=0.2)
    assert caught.group_contains(KitError, match=r"has not connected within 0\.2 s")


async def test_a_client_that_connects_and_says_nothing_fails_the_case() -> None:
    trial = new_trial(PATIENCE)
    async with a_client("s = connect(); s.recv(1)", trial) as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with client.send(b"abc") as run:
                await (await run.accept()).metadata("C4.1")
    assert caught.group_contains(CaseEnded)
    assert trial.judge.findings[0].requirement == "C4.1"
    assert "expected metadata, but nothing came" in trial.judge.findings[0].sentence
    assert trial.endings == [Ending.OPEN]


async def test_a_client_that_does_not_end_fails_the_case_and_is_killed() -> None:
    trial = new_trial(PATIENCE)
    script = METADATA + "receive(s)\nwhile True: __import__('time').sleep(1000)"
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        connection = await run.accept()
        await connection.error()
        with pytest.raises(CaseEnded):
            await run.outcome(within=0.1)
    assert "neither success nor failure" in trial.judge.findings[0].sentence


async def test_a_client_that_connects_many_times_is_bounded(trial: Trial) -> None:
    script = f"""
def answered(s):
    try:
        return bool(s.recv(1))
    except ConnectionResetError:
        return False

url = urlsplit(sys.argv[1])
held = []
for _ in range({MAX_CONNECTIONS + 5}):
    held.append(s := socket.create_connection((url.hostname, url.port)))
    s.sendall(HANDSHAKE)
print(sum(answered(s) for s in held))
"""
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        await run.accept()
        assert (await run.outcome()).output == f"{MAX_CONNECTIONS}\n"
    assert len(trial.endings) == MAX_CONNECTIONS


async def test_a_wrong_handshake_is_a_violation_and_the_case_goes_on(trial: Trial) -> None:
    script = "HANDSHAKE = HANDSHAKE.replace(b'13', b'8')\n" + GOOD
    async with a_client(script, trial) as client, client.send(b"abc", "a") as run:
        connection = await run.accept()
        await connection.receive_file()
        await connection.close_signal()
        assert (await run.outcome()).success
    assert [finding.requirement for finding in trial.judge.findings] == [CLIENT_HANDSHAKE]
    assert "but '8' came" in sentences(trial)


async def test_a_client_that_does_not_speak_http_fails_the_case(trial: Trial) -> None:
    script = """
url = urlsplit(sys.argv[1])
s = socket.create_connection((url.hostname, url.port))
s.sendall(b"\\x16\\x03\\x01\\r\\n\\r\\n"); s.recv(1)
"""
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        with pytest.raises(CaseEnded):
            await run.accept()
    assert trial.judge.findings[0].requirement == CLIENT_HANDSHAKE
    assert "is not HTTP" in sentences(trial)


async def test_a_client_that_never_stops_writing_is_bounded(trial: Trial) -> None:
    async with a_client("print('x' * 10_000_000)", trial) as client, client.send(b"abc") as run:
        outcome = await run.outcome()
    assert outcome.success
    assert len(outcome.output) < MAX_OUTPUT + 30


async def test_the_same_content_and_name_are_the_same_file_at_the_same_address(
    trial: Trial,
) -> None:
    script = "import os; i = os.stat(sys.argv[2]); print(sys.argv[1:], i.st_ino, i.st_mtime_ns)"
    outputs = []
    async with a_client(script, trial) as client:
        for _ in range(2):
            async with client.send(b"abc") as run:
                outputs.append((await run.outcome()).output)
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("['ws://127.0.0.1:")


async def test_two_files_go_over_one_address_one_after_the_other(trial: Trial) -> None:
    async with a_client(GOOD, trial) as client:
        for name in ("a", "b"):
            async with client.send(b"abc", name) as run:
                connection = await run.accept()
                await connection.receive_file()
                await connection.close_signal()
                assert (await run.outcome()).success


async def test_the_perl_senders_empty_chunk_behind_the_last_byte_is_taken(trial: Trial) -> None:
    script = METADATA + (
        "receive(s); send(s, b'abc', 2); receive(s); send(s, b'', 2); receive(s)\n"
        "send(s, b'{\"finished\":true}'); receive(s)"
    )
    async with a_client(script, trial) as client, client.send(b"abc") as run:
        connection = await run.accept()
        assert (await connection.receive_file()).content == b"abc"
        await connection.close_signal()
        assert (await run.outcome()).success


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ("receive(s); send(s, b'abcd', 2)", "expected 3 bytes, but 4 came"),
        ("\nwhile True: receive(s); send(s, b'', 2)", "but 3 empty chunks came"),
        ("receive(s); send(s, b'{}')", "but TEXT came: {}"),
        ("receive(s)", "but the connection was closed"),
    ],
    ids=["more", "empty", "text", "end"],
)
async def test_a_client_that_sends_the_file_wrongly_fails_the_case(
    rest: str, sentence: str
) -> None:
    trial = new_trial(PATIENCE)
    async with a_client(METADATA + rest, trial) as client, client.send(b"abc") as run:
        connection = await run.accept()
        with pytest.raises(CaseEnded):
            await connection.receive_file()
    assert sentence in sentences(trial)


async def judged(run: ClientRun, *words: str) -> Result:
    case = ClientCase("4.2.99", "A title.", ("C4.1",), "core", frozenset(), 10, run)
    with trio.fail_after(DEADLINE):
        [result] = [
            result
            async for result in run_client_cases(
                [case], lambda: command_starter(words), CLIENT_NEEDS, DEADLINE
            )
        ]
    return result


async def test_a_command_that_does_not_exist_is_an_error() -> None:
    async def case(client: Client, judge: Judge) -> None:
        async with client.send(b"abc") as run:
            judge.info("started")
            await run.accept()

    result = await judged(case, "no-such-program", "{url}", "{file}")
    assert result.verdict is Verdict.HARNESS_ERROR
    [finding] = result.findings
    assert finding.sentence.startswith("cannot run 'no-such-program'")


def test_a_command_must_name_the_url_and_the_file() -> None:
    assert parse_command("prog --to={url} '{file}'") == ("prog", "--to={url}", "{file}")
    with pytest.raises(ValueError, match=r"does not contain \{file\}"):
        parse_command("prog {url}")


async def test_the_files_are_gone_after_the_case(trial: Trial) -> None:
    async with command_starter(("true",)) as starter:
        assert isinstance(starter, CommandStarter)
        directory = starter.directory
        async with Client(starter, trial).send(b"abc", "a") as run:
            await run.outcome()
            assert (directory / "a").read_bytes() == b"abc"
    assert not await trio.Path(directory).exists()
