"""The server's last word comes at the very moment at which the client has sent something."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from galileod.client import Options, RefusedError
from galileod.client.address import Address, parse_url
from galileod.client.hashing import FileHash
from galileod.client.idle import IdleTimeout
from galileod.client.sources import BytesSource, Update
from galileod.client.upload import Attempt, upload
from galileod.client.websocket import NextPart

READY = '{"ready": true}'
FATAL = '{"error": "Not today.", "fatal": true}'


class Line:
    """A WebSocket on which the end comes so many steps after `moment`, when sending ends too."""

    def __init__(self, moment: trio.Event, steps: int, *readies: str) -> None:
        self._steps = steps
        self.idle = IdleTimeout(60)
        self._moment = moment
        self._readies = list(readies)

    async def send_text(self, text: str) -> None:
        assert text
        await trio.lowlevel.checkpoint()

    async def send_data(self, length: int, next_part: NextPart) -> None:
        await next_part(length)
        await self._moment.wait()

    async def receive(self) -> str:
        await trio.lowlevel.checkpoint()
        if self._readies:
            return self._readies.pop(0)
        await self._moment.wait()
        for _ in range(self._steps):
            await trio.lowlevel.checkpoint()
        return FATAL

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class Slow(BytesSource):
    """Reading it takes until the moment."""

    def __init__(self, data: bytes, moment: trio.Event) -> None:
        super().__init__(memoryview(data), "a")
        self._moment = moment

    async def read(self, offset: int, length: int, update: Update) -> bytes | memoryview:
        await self._moment.wait()
        return await super().read(offset, length, update)


async def nothing(_: object) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("empty", [False, True], ids=["a chunk", "finished"])
async def test_the_reason_is_what_is_raised(monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    # The order in which trio runs the two tasks is random.
    for step in range(100):
        moment = trio.Event()

        @asynccontextmanager
        async def opened(
            _address: Address,
            _options: Options,
            moment: trio.Event = moment,
            steps: int = step % 10,
        ) -> AsyncIterator[Line]:
            yield Line(moment, steps, READY)

        monkeypatch.setattr("galileod.client.session.open_websocket", opened)
        source = Slow(b"", moment) if empty else BytesSource(memoryview(b"data"), "a")
        attempt = Attempt(
            key=None, begun=False, expected=False, hash=FileHash(None),
            on_begun=lambda: None, on_agreed=nothing,
            on_sent=lambda _: None,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_when_blocked, moment)
            with pytest.raises(RefusedError, match="Not today"):
                await upload(parse_url("ws://h/"), source, Options(), attempt)


async def set_when_blocked(moment: trio.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    moment.set()
