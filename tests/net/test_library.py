"""The library, which only frames start that are not plain."""

import pytest
import trio
from helpers.linked import allow, linked, rest_of, whole
from helpers.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, frame
from trio.testing import MockClock
from trio_websocket import WebSocketConnection

from galileod.net import library
from galileod.net.websocket import FrameError, TransportClosed

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """True for each time that the library is started."""
    starts, start = list[bool](), library.Library._start

    async def note(self: library.Library) -> WebSocketConnection:
        starts.append(True)
        return await start(self)

    monkeypatch.setattr(library.Library, "_start", note)
    return starts


async def test_an_upload_in_plain_frames_does_not_start_it(
    autojump_clock: MockClock, started: list[bool]
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 100)
        data = frame(TEXT, b"metadata") + frame(BINARY, b"x" * 100) + frame(PING, b"?")
        for byte in data:
            await peer.send(bytes([byte]))
        await peer.send(frame(TEXT, b"finished") + frame(PONG) + frame(CLOSE, b"\x03\xe8"))
        assert await link.receive(5) == "metadata"
        assert await whole(link) == b"x" * 100
        assert await link.receive(5) == "finished"
        with pytest.raises(TransportClosed):
            await link.receive(5)
        assert await rest_of(peer, watched) == [Frame(PONG, b"?"), Frame(CLOSE, b"\x03\xe8")]
    assert not started


async def test_it_is_started_once_and_its_messages_stand_between_the_others(
    autojump_clock: MockClock, started: list[bool]
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 100)
        expected = list[str]()
        for number in range(20):
            text = f"{number}".encode()
            begin, end = frame(TEXT, text, final=False), frame(CONTINUATION)
            await peer.send(begin + frame(PING, text) + end + frame(TEXT, b"and " + text))
            expected += [f"{number}", f"and {number}"]
        assert [await link.receive(5) for _ in expected] == expected
        pings = await rest_of(peer, watched)
        assert pings == [Frame(PONG, b"%d" % number) for number in range(20)]
    assert started == [True]


async def test_a_ping_between_the_frames_of_a_message_is_answered_before_its_end(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        await peer.send(frame(TEXT, b"be", final=False) + frame(PING, b"?"))
        assert await peer.receive_frame() == Frame(PONG, b"?")
        await peer.send(frame(CONTINUATION, b"gun"))
        assert await link.receive(5) == "begun"


async def test_nothing_behind_a_violation_is_received(
    autojump_clock: MockClock, started: list[bool]
) -> None:
    async with linked() as (link, peer, watched):
        allow(link, 100)
        good = frame(TEXT, b"good") + frame(TEXT, b"be", final=False) + frame(CONTINUATION, b"st")
        bad = frame(TEXT, b"x", key=None) + frame(BINARY, b"y") + frame(PING) + frame(TEXT, b"z")
        await peer.send(good + bad + frame(BINARY, bytes(101)) + frame(CLOSE))
        assert [await link.receive(5), await link.receive(5)] == ["good", "best"]
        for _ in range(2):
            with pytest.raises(FrameError) as error:
                await link.receive(5)
            assert error.value.code == 1002
        assert await rest_of(peer, watched) == []
    assert started == [True]


async def test_a_text_that_cannot_become_utf_8_is_refused_before_its_end(
    autojump_clock: MockClock,
) -> None:
    async with linked() as (link, peer, _):
        await peer.send(frame(TEXT, b"fine \xff" + b"x" * 1000)[:-900])
        began = trio.current_time()
        with pytest.raises(FrameError) as error:
            await link.receive(5)
        assert error.value.code == 1007
        assert trio.current_time() == began
