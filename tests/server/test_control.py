"""The control socket's server: what it offers, to whom, and that it stays bounded."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import frozen
from helpers.memory_store import MemoryStore
from helpers.wire import serving
from structlog.testing import capture_logs

from galileod.config.model import Config, ConfigError
from galileod.net.settings import Timeouts
from galileod.server import control
from galileod.server.control import ControlServer, Reload, Reloaded, control_routes
from galileod.units import Duration

pytestmark = pytest.mark.timeout(20)

RELOAD = b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


UNCHANGED = Reloaded("/etc/x.toml", [], [])


async def unchanged() -> Reloaded:
    return UNCHANGED


async def changed() -> Reloaded:
    return Reloaded("/etc/x.toml", ["limits.max_file_size", "tls.key"], ["server.listen"])


async def rejected() -> Reloaded:
    raise ConfigError("/etc/x.toml: \xfcber: not an integer")


async def defective() -> Reloaded:
    raise ZeroDivisionError("a bug")


@asynccontextmanager
async def controlled(reload: Reload) -> AsyncIterator["Controlled"]:
    config = Config(timeouts=Timeouts(handshake=Duration(5), close=Duration(5)))
    with trio.fail_after(15):
        async with serving(MemoryStore(), config) as wire:
            yield Controlled(ControlServer(wire.context, control_routes(reload)), wire.nursery)


@frozen
class Controlled:
    server: ControlServer
    nursery: trio.Nursery

    def connect(self) -> trio.SocketStream:
        ours, theirs = trio.socket.socketpair()
        self.nursery.start_soon(self.server.serve, trio.SocketStream(theirs))
        return trio.SocketStream(ours)

    async def ask(self, head: bytes) -> bytes:
        async with self.connect() as stream:
            await stream.send_all(head)
            return await read_all(stream)


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


@pytest.mark.parametrize(
    ("reload", "status", "text"),
    [
        (unchanged, b"200 OK", "reloaded /etc/x.toml"),
        (
            changed,
            b"200 OK",
            (
                "reloaded /etc/x.toml; changed: limits.max_file_size, tls.key"
                "; restart needed for: server.listen"
            ),
        ),
        (rejected, b"422 ", "/etc/x.toml: \xfcber: not an integer"),
    ],
)
async def test_a_reload_is_answered_when_it_is_done(
    reload: Reload, status: bytes, text: str
) -> None:
    with capture_logs() as logs:
        async with controlled(reload) as host:
            reply = await host.ask(RELOAD)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert reply.endswith(b"\r\n\r\n" + text.encode() + b"\n")
    assert not logs  # the reload itself is logged by whoever does it


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /reload HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_there_is_nothing_else(head: bytes, status: int) -> None:
    with capture_logs() as logs:
        async with controlled(defective) as host:
            reply = await host.ask(head)
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    (line,) = logs
    assert (line["event"], line["status"]) == ("connection.refused", status)


@pytest.mark.parametrize(
    ("user", "status"), [(os.geteuid(), b"200"), (0, b"200"), (os.geteuid() + 1, b"403")]
)
async def test_it_is_for_the_daemons_user_and_root_alone(
    monkeypatch: pytest.MonkeyPatch, user: int, status: bytes
) -> None:
    monkeypatch.setattr(control, "user_of_peer", lambda _: user)
    async with controlled(unchanged) as host:
        assert (await host.ask(RELOAD)).split()[1] == status


async def test_a_bug_ends_its_connection_and_is_logged() -> None:
    with capture_logs() as logs:
        async with controlled(defective) as host:
            assert await host.ask(RELOAD) == b""
            assert (await host.ask(b"POST /x HTTP/1.1\r\nHost: x\r\n\r\n")).split()[1] == b"404"
    # The first is logged once its connection is closed, which may be after the second.
    assert sorted(line["event"] for line in logs) == ["connection.error", "connection.refused"]


async def test_a_client_that_leaves_does_no_harm() -> None:
    with capture_logs() as logs:
        async with controlled(unchanged) as host:
            for sent in (b"", b"POST /rel", RELOAD):
                stream = host.connect()
                await stream.send_all(sent)
                await stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert (await host.ask(RELOAD)).startswith(b"HTTP/1.1 200 ")
    assert {line["event"] for line in logs} == {"connection.abandoned"}


async def test_connections_at_once_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CONNECTIONS", 2)
    going_on = trio.Event()

    async def slow() -> Reloaded:
        await going_on.wait()
        return UNCHANGED

    async with controlled(slow) as host:
        waiting = [host.connect() for _ in range(2)]
        for stream in waiting:
            await stream.send_all(RELOAD)
        await trio.testing.wait_all_tasks_blocked()
        async with host.connect() as further:
            assert await read_all(further) == b""
        going_on.set()
        for stream in waiting:
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")
            await stream.aclose()
