"""How a case's run becomes a verdict."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from helpers.conformance import DEADLINE, PATIENCE, case, listening, target, upgraded

from galileod.conformance import cases as _registered  # noqa: F401
from galileod.conformance.case import CLIENT_NEEDS, PROFILES, SERVER_CASES, SERVER_NEEDS, ServerRun
from galileod.conformance.judge import Judge
from galileod.conformance.runner import OPTIONS, choose, run_server_cases
from galileod.conformance.server import Server
from galileod.conformance.verdicts import Ending, Result, Verdict

Handler = Callable[[trio.SocketStream], Awaitable[None]]


async def judged(
    run: ServerRun,
    handler: Handler = upgraded,
    *,
    needs: tuple[str, ...] = (),
    tokens: tuple[str, ...] = (),
    seconds: float = DEADLINE,
    patience: float = DEADLINE,
) -> Result:
    with trio.fail_after(DEADLINE):
        async with listening(handler) as port:
            cases = [case(run, needs=needs, seconds=seconds)]
            results = run_server_cases(cases, target(port, tokens=tokens), patience)
            [result] = [result async for result in results]
    return result


async def expects_ready(server: Server, judge: Judge) -> None:
    async with server.connect() as connection:
        await connection.send_metadata("a", 1)
        await connection.expect_ready("S3.1")
        judge.check("S3.1", holds=True, sentence="it came")


READY = b'\x81\x0e{"ready":true}'


async def test_a_case_in_which_all_holds_passes_and_has_a_transcript() -> None:
    async def ready(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        await stream.receive_some()
        await stream.send_all(READY)
        await stream.receive_some()
        await stream.send_all(b"\x88\x00")

    result = await judged(expects_ready, ready)
    assert (result.case, result.verdict, result.findings) == ("3.1.99", Verdict.PASS, ())
    assert '1 -> TEXT {"name":"a","size":1}' in result.transcript
    assert '1 <- TEXT {"ready":true}' in result.transcript


async def test_a_server_that_says_nothing_fails() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        await trio.sleep_forever()

    result = await judged(expects_ready, silent, patience=PATIENCE)
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].requirement == "S3.1"
    assert result.findings[0].sentence.startswith("expected ready, but nothing came within 1 s")
    assert result.ending is Ending.OPEN


async def test_a_server_that_closes_fails_and_the_ending_is_judged_apart() -> None:
    async def closing(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        await stream.receive_some()  # all that was sent: closing with bytes unread is a reset

    result = await judged(expects_ready, closing)
    assert result.verdict is Verdict.FAIL
    assert "closed without a Close frame" in result.findings[0].sentence
    assert result.ending is Ending.TCP


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 300_000,
        bytes(range(256)) * 1000,
        b"\x81\x02\xff\xff",
        b"\x81\x01{",
        b"\x81\x02[]",
        b"\x82\x7f\x7f" + b"\xff" * 7,
        b"\x81\x7e\x4e\x20" + b"[" * 20_000,
    ],
    ids=["zeros", "bytes", "no UTF-8", "no JSON", "no object", "long", "nested"],
)
async def test_a_server_that_sends_garbage_fails(data: bytes) -> None:
    async def garbage(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        await stream.send_all(data)

    result = await judged(expects_ready, garbage)
    assert result.verdict is Verdict.FAIL
    assert all(finding.verdict is Verdict.FAIL for finding in result.findings)


async def test_a_server_that_never_stops_sending_ends_in_a_verdict() -> None:
    async def endless(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        while True:
            await stream.send_all(b"\x89\x00" * 10_000)

    result = await judged(expects_ready, endless, patience=PATIENCE)
    assert result.verdict is Verdict.FAIL
    assert result.ending is Ending.OPEN
    assert len(result.transcript) < 1_000_000


async def test_a_server_that_does_not_answer_is_an_error_of_the_surroundings() -> None:
    async def closing(stream: trio.SocketStream) -> None:
        await stream.aclose()

    result = await judged(expects_ready, closing)
    assert result.verdict is Verdict.HARNESS_ERROR
    assert result.ending is Ending.NONE


async def test_a_refused_handshake_that_the_case_does_not_expect_is_an_error() -> None:
    async def refusing(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    result = await judged(expects_ready, refusing)
    assert result.verdict is Verdict.HARNESS_ERROR
    assert "status 403" in result.findings[0].sentence


async def test_an_exception_in_a_case_is_one_sentence() -> None:
    async def broken(server: Server, judge: Judge) -> None:
        async with trio.open_nursery():
            raise KeyError(f"no {server.name('')[:11]} for {judge.verdict}")

    result = await judged(broken)
    assert result.verdict is Verdict.HARNESS_ERROR
    [finding] = result.findings
    assert finding.sentence == "KeyError: 'no conformance for Verdict.PASS'"


async def test_a_requirement_that_is_not_declared_is_an_error() -> None:
    async def undeclared(server: Server, judge: Judge) -> None:
        judge.check("S5.1", server, "one")

    result = await judged(undeclared)
    assert result.verdict is Verdict.HARNESS_ERROR
    assert result.findings[0].sentence == "the case does not declare S5.1"


async def test_a_case_that_waits_for_the_peer_beyond_its_limit_fails() -> None:
    async def waiting(server: Server, judge: Judge) -> None:
        async with server.connect() as connection:
            judge.info("begun")
            await connection.message(within=DEADLINE)

    async def silent(stream: trio.SocketStream) -> None:
        await upgraded(stream)
        await trio.sleep_forever()

    result = await judged(waiting, silent, seconds=1, patience=PATIENCE)
    assert result.verdict is Verdict.FAIL
    assert result.findings[-1].sentence == (
        "the case is not over within 1 s: it waits for a message of the server"
    )


async def test_a_case_that_waits_for_itself_beyond_its_limit_is_an_error() -> None:
    async def waiting(server: Server, judge: Judge) -> None:
        await trio.sleep_forever()

    result = await judged(waiting, seconds=0.1, patience=PATIENCE)
    assert result.verdict is Verdict.HARNESS_ERROR
    assert result.findings[0].sentence == "the case is not over within 0.1 s"


async def test_a_case_whose_needs_are_not_met_is_skipped() -> None:
    result = await judged(expects_ready, needs=("kill", "token"))
    assert result.verdict is Verdict.SKIPPED
    assert result.findings[0].sentence == "the case needs --kill, --token-file with two tokens"


def test_each_need_of_a_case_has_its_option() -> None:
    assert OPTIONS.keys() == SERVER_NEEDS | CLIENT_NEEDS


async def test_tokens_are_left_out_of_the_result() -> None:
    async def telling(server: Server, judge: Judge) -> None:
        async with server.connect() as connection:
            await connection.send_metadata("a", 1)
            judge.info(f"sent {server.token} and {server.other_token}")

    result = await judged(telling, tokens=("first-secret", "second-secret"))
    assert "secret" not in result.transcript
    assert '"token":"(token)"' in result.transcript
    assert result.findings[0].sentence == "sent (token) and (token)"


def numbers(*chosen: str) -> list[str]:
    return [case.number for case in choose(SERVER_CASES.values(), PROFILES, chosen)]


def test_cases_are_chosen_by_number_or_beginning() -> None:
    assert numbers("3.1.1") == ["3.1.1"]
    assert "3.1.1" in numbers("3")
    assert all(number.startswith("5.1.") for number in numbers("5.1"))
    assert numbers() == sorted(SERVER_CASES, key=lambda n: [int(part) for part in n.split(".")])


def test_a_beginning_ends_at_a_dot() -> None:
    with pytest.raises(ValueError, match=r"no case 3\.1\.11111"):
        numbers("3.1.11111")
    assert not any(number.startswith("10") for number in numbers("3"))


def test_cases_of_other_profiles_are_left_out() -> None:
    assert choose(SERVER_CASES.values(), ("core",), ("3.1.1",))
    assert choose(SERVER_CASES.values(), ("resume",), ("3.1.1",)) == []
