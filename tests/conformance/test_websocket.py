import socket
from collections.abc import AsyncIterator

import pytest
import trio
from helpers.conformance import DEADLINE, new_trial, socket_pair, websocket_pair
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing, Ping, Pong, Violation
from galileod.conformance.requirements import CLIENT_FRAMING, SERVER_FRAMING
from galileod.conformance.trial import Trial
from galileod.conformance.verdicts import Ending, Verdict
from galileod.conformance.websocket import WebSocket

Pair = tuple[WebSocket, WebSocket]


@pytest.fixture
async def trial() -> Trial:
    return new_trial()


@pytest.fixture
async def pair(trial: Trial) -> AsyncIterator[Pair]:
    with trio.fail_after(DEADLINE):
        async with websocket_pair(trial) as both:
            yield both


async def test_messages_go_both_ways(pair: Pair) -> None:
    client, server = pair
    await client.send_signal({"name": "ä", "size": 3})
    await client.send_binary(b"abc")
    await server.send_text("x")
    assert await server.receive() == Message(Opcode.TEXT, '{"name":"ä","size":3}'.encode())
    assert await server.receive() == Message(Opcode.BINARY, b"abc")
    assert await client.receive() == Message(Opcode.TEXT, b"x")


async def test_bytes_behind_the_handshake_are_received(trial: Trial) -> None:
    async with socket_pair() as (near, _):
        websocket = trial.websocket(near, b"\x81\x01x", "server")
        assert await websocket.receive() == Message(Opcode.TEXT, b"x")


async def test_nothing_is_an_event_too(pair: Pair) -> None:
    assert await pair[0].receive(within=0.01) == Nothing(0.01)


async def test_a_ping_is_answered(pair: Pair) -> None:
    client, server = pair
    await server.send_ping(b"p")
    assert await client.receive() == Ping(b"p")
    assert await server.receive() == Pong(b"p")


async def test_a_ping_is_answered_behind_a_frame_that_was_sent_in_part(pair: Pair) -> None:
    client, server = pair
    await server.send_raw(b"\x81\x02a")
    await client.send_ping(b"first")
    await client.send_ping(b"last")
    assert [await server.receive(), await server.receive()] == [Ping(b"first"), Ping(b"last")]
    await server.send_raw(b"b")
    assert await client.receive() == Message(Opcode.TEXT, b"ab")
    assert await client.receive() == Pong(b"last")


async def test_a_ping_is_not_answered_where_the_case_does_not_want_it(pair: Pair) -> None:
    client, server = pair
    client.answer_pings = False
    await server.send_ping(b"p")
    assert await client.receive() == Ping(b"p")
    await client.send_text("next")
    assert await server.receive() == Message(Opcode.TEXT, b"next")


async def test_closing_in_order_is_clean_on_both_sides(pair: Pair, trial: Trial) -> None:
    client, server = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.finish(send_close=True, within=DEADLINE))
        assert await server.receive() == Close(1000, "")
        await server.finish(send_close=False, within=DEADLINE)
    assert trial.endings == [Ending.CLEAN, Ending.CLEAN]
    assert trial.judge.verdict is Verdict.PASS


async def test_a_peer_that_sends_no_close_frame_has_an_ending_of_its_own(pair: Pair) -> None:
    client, server = pair
    await server.aclose()
    assert await client.receive() == Ended(reset=False)
    assert await client.receive() == Ended(reset=False)
    await client.finish(send_close=True, within=DEADLINE)
    assert client.ending is Ending.TCP
    assert server.ending is Ending.NONE


async def test_a_reset_is_told_from_an_end(pair: Pair) -> None:
    client, server = pair
    await server.abort()
    assert await client.receive() == Ended(reset=True)
    assert client.ending is Ending.RESET


async def test_what_came_before_a_reset_is_received_first(pair: Pair) -> None:
    client, server = pair
    await server.send_text("error")
    await server.abort()
    assert await client.receive() == Message(Opcode.TEXT, b"error")
    assert await client.receive() == Ended(reset=True)


async def test_after_the_end_of_sending_receiving_still_works(pair: Pair) -> None:
    client, server = pair
    await client.end()
    assert await server.receive() == Ended(reset=False)
    await server.send_text("late")
    assert await client.receive() == Message(Opcode.TEXT, b"late")
    assert await client.send_text("x") is False
    assert client.ending is Ending.NONE


async def test_a_peer_that_ends_nothing_is_open(trial: Trial) -> None:
    with trio.fail_after(DEADLINE):
        async with websocket_pair(trial) as (client, server):
            await client.finish(send_close=True, within=0.01)
            assert client.ending is Ending.OPEN
        async with websocket_pair(trial) as (client, server):
            await server.finish(send_close=False, within=0.01)
            assert server.ending is Ending.OPEN
            assert await client.receive() == Close(1000, "")


async def test_sending_to_a_peer_that_is_gone_never_raises(pair: Pair) -> None:
    client, server = pair
    await server.abort()
    while await client.send_binary(bytes(65_536)):
        pass
    assert await client.send_text("x") is False
    assert await client.receive() == Ended(reset=True)


async def test_a_peer_that_takes_nothing_holds_a_send_up_for_the_patience_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    trial = new_trial(patience=3600)
    async with trial_over_memory(trial) as client:
        assert await client.send_binary(b"x") is False
        assert await client.send_text("dropped") is False
    assert "not taken within 3600 s" in str(trial.transcript)


def trial_over_memory(trial: Trial) -> "_Stuck":
    return _Stuck(trial)


class _Stuck:
    """A connection whose stream takes no bytes."""

    def __init__(self, trial: Trial) -> None:
        ours, self._theirs = trio.testing.lockstep_stream_pair()
        self._websocket = trial.websocket(ours, b"", "server")

    async def __aenter__(self) -> WebSocket:
        return self._websocket

    async def __aexit__(self, *_: object) -> None:
        await self._websocket.aclose()


async def test_violations_are_events_and_go_to_the_judge(pair: Pair, trial: Trial) -> None:
    client, server = pair
    await server.send_frame(Opcode.TEXT, b"a", masked=True)
    assert await client.receive() == Violation("a frame came masked: TEXT")
    assert await client.receive() == Message(Opcode.TEXT, b"a")
    await client.send_frame(Opcode.TEXT, b"a", rsv=1)
    assert isinstance(await server.receive(), Violation)
    found = {finding.requirement: finding.sentence for finding in trial.judge.findings}
    assert found[SERVER_FRAMING] == "a frame came masked: TEXT"
    assert found[CLIENT_FRAMING] == "a frame came with reserved bits 001: TEXT"


@pytest.mark.parametrize("opcode", [Opcode.PING, 11, Opcode.CONT])
async def test_any_frame_can_be_sent(pair: Pair, opcode: int) -> None:
    client, server = pair
    await client.send_frame(opcode, bytes(200), fin=False, rsv=7, masked=False)
    await client.send_raw(b"\x81\x81\x00\x00\x00\x00x")
    seen = [await server.receive()]
    while not isinstance(seen[-1], Message):
        seen.append(await server.receive())
    assert any(isinstance(event, Violation) for event in seen)
    assert seen[-1] == Message(Opcode.TEXT, b"x")


async def test_both_directions_are_in_the_transcript(pair: Pair, trial: Trial) -> None:
    client, server = pair
    await client.send_text("a\x1b")
    await server.receive()
    lines = [line[10:] for line in str(trial.transcript).splitlines()]
    assert lines == ["1 -> TEXT a\\u001b", "2 <- TEXT a\\u001b"]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 50))
def test_messages_survive_any_splitting_of_the_stream(contents: list[bytes], piece: int) -> None:
    async def run() -> list[bytes]:
        async with socket_pair() as (near, far):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = new_trial().websocket(_InPieces(near, piece), b"", "server")
            server = new_trial().websocket(far, b"", "client")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, client, contents)
                events = [await server.receive() for _ in contents]
            return [event.data for event in events if isinstance(event, Message)]

    async def bounded() -> list[bytes]:
        with trio.fail_after(DEADLINE):
            return await run()

    assert trio.run(bounded) == contents


async def _send_all(websocket: WebSocket, contents: list[bytes]) -> None:
    for content in contents:
        await websocket.send_binary(content)


class _InPieces(trio.abc.Stream):
    """Sends a few bytes at a time."""

    def __init__(self, stream: trio.SocketStream, piece: int) -> None:
        self._stream = stream
        self._piece = piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), self._piece):
            await self._stream.send_all(bytes(data)[start : start + self._piece])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_100_mb_of_zeros_are_dropped(pair: Pair, trial: Trial) -> None:
    client, server = pair
    left = 100

    async def flood() -> None:
        nonlocal left
        while left and await server.send_raw(bytes(1_000_000)):
            left -= 1
        await server.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        while not isinstance(await client.receive(), Ended):
            pass
    assert left == 0
    assert [finding.requirement for finding in trial.judge.findings] == [SERVER_FRAMING]
    assert len(str(trial.transcript)) < 50_000
