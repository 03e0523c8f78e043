"""The benchmarks' client of `next` keeps to the protocol, and sees what a server answers."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio
from conformance.in_process import Stream
from conformance.reference.many_server import ManyServer, Session

from galileod.conformance.dialogue import Dialogue
from galileod.conformance.events import Event
from galileod.conformance.handshake import accept_upgrade, receive_upgrade
from galileod.conformance.transcript import Transcript
from galileod.conformance.websocket import Side, WebSocket

BENCH: Final = Path(__file__).resolve().parents[2] / "bench"
DEADLINE: Final = 60.0

CLIENT: Final = """
import hashlib, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from clients import close_websocket
from connection import Connection, EventLoop, Part
from next_client import prepare, send_files
from source_file import source

def whole(connection, files):
    yield from send_files(connection, files)
    yield from close_websocket(connection)

port, connections, count, sizes = int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6:]
with source(Path(sys.argv[2]), 2000) as data:
    content, files = data.path.read_bytes(), []
    for number in range(count):
        size = int(sizes[number % len(sizes)])
        sha1 = hashlib.sha1(content[:size]).hexdigest()
        files.append(prepare(Part(f"{number}.bin", data.descriptor, 0, size, sha1)))
    loop = EventLoop()
    for first in range(connections):
        connection = Connection(("127.0.0.1", port))
        loop.add(connection, whole(connection, files[first::connections]))
    for connection in loop.finished():
        connection.socket.close()
"""
"""Sends `count` files, whose sizes are the last arguments, over and over."""


@attrs.define(eq=False)
class Watched:
    """A server on TCP that judges its clients by the rules of the dialogue."""

    server: ManyServer
    port: int = 0
    violations: list[tuple[str, str]] = attrs.field(factory=list)

    async def serve(self, stream: Stream) -> None:
        request = await receive_upgrade(stream)
        await accept_upgrade(stream, request)
        dialogue = Dialogue("client")

        def watch(side: Side, event: Event) -> None:
            self.violations += dialogue.said(event, by_server=side == "sent")

        websocket = WebSocket(
            stream, "server", 1, Transcript(trio.current_time), DEADLINE, request.rest, watch
        )
        session = Session(self.server, websocket)
        await session.run()

    @classmethod
    @asynccontextmanager
    async def running(cls, server: ManyServer) -> AsyncIterator["Watched"]:
        watched = cls(server)
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, host="127.0.0.1")
            [listener] = await nursery.start(serve, watched.serve, 0)
            watched.port = listener.socket.getsockname()[1]
            yield watched
            nursery.cancel_scope.cancel()

    async def receive(
        self, folder: Path, connections: int, count: int, *sizes: int
    ) -> "subprocess.CompletedProcess[bytes]":
        numbers = map(str, (self.port, connections, count, *sizes))
        command = [sys.executable, "-c", CLIENT, str(BENCH), str(folder), *numbers]
        with trio.fail_after(DEADLINE):
            return await trio.run_process(command, capture_stderr=True, check=False)


async def test_files_of_all_sizes_are_stored_without_a_violation(tmp_path: Path) -> None:
    sizes = (1000, 0, 950, 1, 900)  # three open files may be more than `room`
    async with Watched.running(ManyServer()) as server:
        done = await server.receive(tmp_path, 2, 50, *sizes)
    assert done.returncode == 0, done.stderr.decode()
    assert server.violations == []
    lengths = {name: len(content) for name, content in server.server.files.items()}
    assert lengths == {f"{n}.bin": sizes[n % 5] for n in range(50)}


async def test_a_server_without_next_is_told_apart(tmp_path: Path) -> None:
    async with Watched.running(ManyServer(offers=frozenset())) as server:
        done = await server.receive(tmp_path, 1, 3, 10)
    assert b"the server does not support `next`" in done.stderr


async def test_a_file_that_is_refused_is_an_error(tmp_path: Path) -> None:
    async with Watched.running(ManyServer(tokens=("secret",))) as server:
        done = await server.receive(tmp_path, 1, 3, 10)
    assert b"unauthorized" in done.stderr


async def test_a_file_that_the_server_does_not_take_whole_is_an_error(tmp_path: Path) -> None:
    async with Watched.running(ManyServer()) as server:
        done = await server.receive(tmp_path, 1, 3, 1001)
    assert b"the server takes at most 1000 bytes whole" in done.stderr
