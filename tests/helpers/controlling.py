"""A control server in this process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from attrs import evolve, frozen
from helpers.memory_store import MemoryStore
from helpers.wire import Wire, serving

from galileod.config.model import Config
from galileod.ledger.base import Ledger
from galileod.net.settings import Timeouts
from galileod.server.control import ControlServer, Reload, Reloaded, control_routes
from galileod.server.status import Instance
from galileod.units import Duration

STARTED: Final = 1_800_000_000.0
"""When the daemon began to listen."""


async def unchanged() -> Reloaded:
    """A reload that changes nothing."""
    return Reloaded("/etc/x.toml", [], [])


@asynccontextmanager
async def controlled(
    reload: Reload = unchanged, store: MemoryStore | None = None, config: Config | None = None
) -> AsyncIterator["Controlled"]:
    """A control server, and the daemon that it controls."""
    timeouts = Timeouts(handshake=Duration(5), close=Duration(5))
    config = evolve(config or Config(), timeouts=timeouts)
    with trio.fail_after(15):
        async with serving(store or MemoryStore(), config) as wire:
            instance = Instance(wire.server, ["127.0.0.1:8750"], STARTED)
            routes = control_routes(wire.context, reload, instance)
            yield Controlled(ControlServer(wire.context, routes), wire)


@frozen
class Controlled:
    """Where requests go."""

    server: ControlServer
    wire: Wire

    @property
    def ledger(self) -> Ledger:
        """That of the daemon."""
        return self.wire.context.ledger

    def connect(self) -> trio.SocketStream:
        """A new connection."""
        ours, theirs = trio.socket.socketpair()
        self.wire.nursery.start_soon(self.server.serve, trio.SocketStream(theirs))
        return trio.SocketStream(ours)

    async def ask(self, head: bytes) -> bytes:
        """Send a request; gives the whole response."""
        async with self.connect() as stream:
            await stream.send_all(head)
            return await read_all(stream)


async def read_all(stream: trio.SocketStream) -> bytes:
    """What comes up to the end."""
    return b"".join([bytes(data) async for data in stream])


def told(reply: bytes) -> list[dict[str, Any]]:
    """The rows in a response."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body.endswith(b"\n") or not body
    return [json.loads(line) for line in body.splitlines()]
