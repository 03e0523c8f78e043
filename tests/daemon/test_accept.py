"""Who is let in while the daemon runs, and while it drains."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from errno import (
    ECONNABORTED,
    EINVAL,
    EMFILE,
    ENETDOWN,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPROTO,
)
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
from attrs import define, field

from galileod.daemon import accept
from galileod.daemon.accept import accept_connections
from galileod.daemon.listeners import Listeners, open_listeners
from galileod.net.addresses import TcpAddress, UnixAddress
from galileod.net.sockets import DirectSocket
from galileod.shutdown import Shutdown

pytestmark = pytest.mark.timeout(20)

LOCAL = TcpAddress("127.0.0.1", 0)


@define
class Context:
    """Doors whose guests stay until they are let go, each told that he is in."""

    listeners: Listeners
    shutdown: Shutdown = field(factory=Shutdown)
    closed: trio.Event = field(factory=trio.Event)
    marks: list[bool] = field(factory=list)
    inside: list[DirectSocket] = field(factory=list)

    async def greet(self, stream: DirectSocket, proxy_protocol: bool) -> None:
        self.marks.append(proxy_protocol)
        self.inside.append(stream)
        await stream.send_all(b"hello")
        await stream.receive_some()

    async def keep(self) -> None:
        await accept_connections(self.listeners, self.greet, self.shutdown)
        self.closed.set()


async def enter(address: object) -> trio.SocketStream:
    """Connect, and wait until one is let in."""
    if isinstance(address, str):
        stream = await trio.open_unix_socket(address)
    else:
        assert isinstance(address, tuple)
        stream = await trio.open_tcp_stream(*address)
    assert await stream.receive_some() == b"hello"
    return stream


async def enter_until_refused(address: object, inside: list[trio.SocketStream]) -> None:
    """It takes the daemon a moment to notice that its last guest has left."""
    with suppress(OSError, trio.BrokenResourceError):
        while True:
            inside.append(await enter(address))


def exists(path: str) -> bool:
    return Path(path).exists()


@asynccontextmanager
async def keeping(listeners: Listeners) -> AsyncIterator[Context]:
    context = Context(listeners)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(context.keep)
            yield context
            await context.closed.wait()


async def test_our_own_doors_stay_open_until_those_from_before_have_left(tmp_path: Path) -> None:
    path = str(tmp_path / "own.sock")
    listeners = await open_listeners([LOCAL, UnixAddress(path)])
    address = listeners.own[0].socket.socket.getsockname()
    async with keeping(listeners) as context:
        guest = await enter(address)
        context.shutdown.no_new_uploads.fire()
        late = [await enter(address), await enter(path)]
        await guest.aclose()
        await enter_until_refused(address, late)
        assert not exists(path)
        assert not context.closed.is_set()  # whoever was let in may end in order
        for one in late:
            await one.aclose()


async def test_whoever_is_let_in_is_told_what_his_door_is_marked_with() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        host, port = passed.getsockname()
        marked = TcpAddress(host, port, proxy_protocol=True)
        listeners = await open_listeners([LOCAL, marked], [socket.dup(passed.fileno())])
        names = {door.name for door in (*listeners.own, *listeners.passed)}
        assert str(marked) in names
        addresses = [door.socket.socket.getsockname() for door in listeners.own]
        async with keeping(listeners) as context:
            for address in (*addresses, passed.getsockname()):
                await (await enter(address)).aclose()
            context.shutdown.no_new_uploads.fire()
    assert context.marks == [False, True]


async def test_a_door_of_systemds_is_let_go_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = passed.getsockname()
        listeners = await open_listeners([TcpAddress(*address)], [socket.dup(passed.fileno())])
        assert not listeners.own
        async with keeping(listeners) as context:
            guest = await enter(address)
            context.shutdown.no_new_uploads.fire()
            await trio.testing.wait_all_tasks_blocked()
            waiting = await trio.open_tcp_stream(*address)
            assert not context.closed.is_set()
            await guest.aclose()
        passed.setblocking(False)
        passed.accept()[0].close()  # nobody took it from the queue
        await waiting.aclose()


async def test_at_once_waits_for_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "own.sock")
    async with keeping(await open_listeners([UnixAddress(path)])) as context:
        guest = await enter(path)
        context.shutdown.no_new_uploads.fire()
        late = await enter(path)
        context.shutdown.at_once.fire()
        for stream in (guest, late):
            assert await stream.receive_some() == b""
            await stream.aclose()
    assert not exists(path)


async def test_a_connection_sends_at_once_though_the_one_before_is_not_acknowledged() -> None:
    listeners = await open_listeners([LOCAL])
    address = listeners.own[0].socket.socket.getsockname()
    async with keeping(listeners) as context:
        async with await enter(address):
            (stream,) = context.inside
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        context.shutdown.no_new_uploads.fire()


class Listening:
    """A listening socket whose `accept` fails with these errors, one after the other."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = [*errors, BlockingIOError()]

    def accept(self) -> object:
        raise self.errors.pop(0)


def accept_from(listening: Listening) -> bool:
    async def handle(_stream: DirectSocket, _proxy_protocol: bool) -> None:
        raise AssertionError("nobody has connected")

    handlers = cast("accept._HandlerNursery", None)
    return accept._accept_waiting(cast("socket.socket", listening), False, handle, handlers)


def test_connections_that_were_lost_before_they_are_accepted_are_passed_over() -> None:
    listening = Listening(*(OSError(code, "lost") for code in (ECONNABORTED, EPROTO, ENETDOWN)))
    assert accept_from(listening)
    assert not listening.errors


@pytest.mark.parametrize("code", [EMFILE, ENFILE, ENOBUFS, ENOMEM])
def test_without_descriptors_or_memory_accepting_pauses_and_says_so(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    listening = Listening(OSError(code, "too many"), OSError(code, "too many"))
    assert not accept_from(listening)
    assert "accept failed (too many)" in caplog.text
    assert len(listening.errors) == 2, "the next attempt is later"


def test_a_listening_socket_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(OSError, match="bad"):
        accept_from(Listening(OSError(EINVAL, "bad")))
