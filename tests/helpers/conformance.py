"""Peers for the conformance kit: real sockets, and what a test says is done on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from galileod.conformance.address import Address
from galileod.conformance.case import ServerCase, ServerRun
from galileod.conformance.handshake import accept_upgrade, receive_upgrade
from galileod.conformance.judge import Judge
from galileod.conformance.target import Command, Directory, Target
from galileod.conformance.trial import Trial
from galileod.conformance.websocket import WebSocket

DEADLINE: Final = 20.0
"""Seconds for anything that is sure to happen."""
PATIENCE: Final = 1.0
"""Seconds, for tests in which the kit waits without success."""

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """Run `handler` for each connection; yield the port."""
    async with trio.open_nursery() as nursery:

        async def guarded(stream: trio.SocketStream) -> None:
            try:
                await handler(stream)
            except trio.BrokenResourceError:
                pass  # the kit has closed the connection, as it may at any time

        serve = partial(trio.serve_tcp, host="127.0.0.1")
        [listener] = await nursery.start(serve, guarded, 0)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def upgraded(stream: trio.SocketStream) -> None:
    """Answer the handshake as a server."""
    await accept_upgrade(stream, await receive_upgrade(stream))


def target(
    port: int, stored: Directory | Command | None = None, tokens: tuple[str, ...] = ()
) -> Target:
    """A server on the loopback."""
    address = Address.parse(f"ws://127.0.0.1:{port}/upload")
    return Target(address, stored or Directory(Path("/nonexistent")), tokens=tokens)


def case(run: ServerRun, *, needs: tuple[str, ...] = (), seconds: float = 10) -> ServerCase:
    """A case that is not registered."""
    return ServerCase("3.1.99", "A title.", ("S3.1",), "core", frozenset(needs), seconds, run)


def new_trial(patience: float = DEADLINE) -> Trial:
    """For connections without a case."""
    return Trial(Judge(("S3.1", "C4.1")), patience)


@asynccontextmanager
async def socket_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Both ends of a TCP connection."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        far = await listener.accept()
    try:
        yield near, far
    finally:
        await trio.aclose_forcefully(near)
        await trio.aclose_forcefully(far)


@asynccontextmanager
async def websocket_pair(trial: Trial) -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    """The kit as a client, which judges a server, and as that server."""
    async with socket_pair() as (near, far):
        yield trial.websocket(near, b"", "server"), trial.websocket(far, b"", "client")
