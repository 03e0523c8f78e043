"""A stream over a real socket."""

import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from helpers.splitting import PART
from helpers.wire import BINARY, KEY, TEXT, Frame, RawPeer, frame

from galileod.net.messages import BinaryMessage
from galileod.net.reader import READ_UNGRANTED
from galileod.net.sending import FrameSender, encode_frame
from galileod.net.sockets import DirectSocket
from galileod.net.streams import close_in_order
from galileod.net.websocket import WebSocketTransport, open_transport

pytestmark = pytest.mark.timeout(20)

LARGE = 20_000_000
"""More bytes than the kernel takes."""


@asynccontextmanager
async def connected(family: int = socket.AF_INET) -> AsyncIterator[tuple[DirectSocket, RawPeer]]:
    """Both ends of a connection, over TCP or a unix socket."""
    if family == socket.AF_INET:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            far = socket.create_connection(listening.getsockname())
            near, _ = listening.accept()
    else:
        near, far = socket.socketpair()
    ours = DirectSocket(near)
    with trio.fail_after(10):
        async with ours, trio.SocketStream(trio.socket.from_stdlib_socket(far)) as theirs:
            yield ours, RawPeer(theirs)


async def reset(peer: RawPeer) -> None:
    """The peer resets the connection, and we have noticed that."""
    assert isinstance(peer.stream, trio.SocketStream)
    peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await peer.stream.aclose()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_bytes_come_in_order_and_end_with_the_end_of_the_stream(
    family: int,
) -> None:
    async with connected(family) as (ours, peer):
        for size in (1, 10, 100, 10):
            await peer.send(bytes(range(100))[:size])
            assert await ours.receive_some(10) == bytes(range(10))[:size]
            for start in range(10, size, 10):
                assert await ours.receive_some(10) == bytes(range(start, start + 10))
        await peer.stream.send_eof()
        assert await ours.receive_some(10) == b""
        assert ours.receive_nowait(10) == b""


async def test_nothing_is_received_without_waiting_if_nothing_is_there() -> None:
    async with connected() as (ours, peer):
        assert ours.receive_nowait(10) is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b"later")
            assert await ours.receive_some(10) == b"later"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_what_the_kernel_does_not_take_at_once_is_sent_when_the_peer_reads(
    family: int,
) -> None:
    data = bytes(range(256)) * (LARGE // 256)
    async with connected(family) as (ours, peer):
        assert not ours.send_nowait(data)
        received = list[bytes]()

        async def receive() -> None:
            received.append(await peer.receive_all())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await ours.flush()
            await ours.send_all(b"more" * LARGE)
            await ours.send_eof()
        assert received == [data + b"more" * LARGE]


async def test_a_closed_socket_is_not_used_again() -> None:
    async with connected() as (ours, _):
        ours.close()
        other = trio.socket.socketpair()  # may get the descriptor of the closed one
        for use in (
            lambda: ours.send_nowait(b"x"),
            lambda: ours.receive_nowait(10),
            ours.end_nowait,
        ):
            with pytest.raises(trio.ClosedResourceError):
                use()
        for each in other:
            each.close()


async def test_a_task_that_receives_is_told_when_the_socket_is_closed() -> None:
    async with connected() as (ours, _), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive_some(10)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        ours.close()


async def test_a_connection_that_was_reset_is_broken() -> None:
    async with connected() as (ours, peer):
        await reset(peer)
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some(10)
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")


@pytest.mark.parametrize("sent", [b"", b"unread"])
async def test_a_socket_is_closed_in_order_whatever_the_peer_still_sends(sent: bytes) -> None:
    async with connected() as (ours, peer), trio.open_nursery() as nursery:
        await ours.send_all(b"last words")
        await peer.send(sent)
        nursery.start_soon(close_in_order, ours, 5)
        assert await peer.receive_all() == b"last words"
        await peer.stream.aclose()


async def test_a_reset_connection_is_closed_without_an_exception() -> None:
    async with connected() as (ours, peer):
        await reset(peer)
        await close_in_order(ours, 5)
        with pytest.raises(trio.ClosedResourceError):
            ours.receive_nowait(1)


async def test_frames_of_several_tasks_do_not_mix_though_the_kernel_takes_parts() -> None:
    async with connected() as (ours, peer):
        sender = FrameSender(ours)
        payloads = [bytes([number]) * (LARGE // 10 + number) for number in range(20)]
        frames = list[Frame | None]()
        async with trio.open_nursery() as nursery:
            for payload in payloads:
                nursery.start_soon(sender.send, encode_frame(TEXT, payload))
            frames += [await peer.receive_frame() for _ in payloads]
        assert sorted(each.payload for each in frames if each) == payloads


async def test_a_frame_that_the_peer_does_not_read_in_time_is_the_last() -> None:
    async with connected() as (ours, peer):
        sender = FrameSender(ours)
        with pytest.raises(trio.TooSlowError):
            await sender.send(bytes(LARGE), timeout=0)
        with pytest.raises(trio.BrokenResourceError, match="cut off"):
            await sender.send(b"x")
        await ours.send_eof()
        assert 0 < len(await peer.receive_all()) < LARGE


@asynccontextmanager
async def upgraded() -> AsyncIterator[tuple[WebSocketTransport, RawPeer]]:
    """A WebSocket transport over TCP, which has sent its response, and the peer."""
    async with (
        connected() as (ours, peer),
        open_transport(ours, KEY, b"", timeout=5, ping=60, part_size=PART) as transport,
    ):
        await peer.stream.receive_some(10_000)
        yield transport, peer


async def test_data_that_was_granted_while_the_reader_waited_is_not_read_as_if_it_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, data = list[int](), bytes(range(250)) * 400
    receive = DirectSocket.receive_nowait

    def noting(self: DirectSocket, most: int) -> bytes | None:
        received = receive(self, most)
        reads.append(len(received or b""))
        return received

    async with upgraded() as (transport, peer):
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(DirectSocket, "receive_nowait", noting)
        transport.budget.promise(len(data), len(data))
        await peer.send(frame(BINARY, data))
        message = await transport.receive(5)
    assert isinstance(message, BinaryMessage)
    assert b"".join(message.pieces) == data
    assert reads[0] > READ_UNGRANTED


async def test_the_reader_keeps_nothing_of_what_was_received() -> None:
    length = 15_000  # one segment
    async with upgraded() as (transport, peer):
        transport.budget.promise(length, length)
        await peer.send(frame(BINARY, bytes(length)))
        await transport.receive(5)
        await trio.testing.wait_all_tasks_blocked()
        tracemalloc.start()
        try:
            transport.budget.promise(length, length)
            await peer.send(frame(BINARY, bytes(length)))
            await transport.receive(5)
            await trio.testing.wait_all_tasks_blocked()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < length // 2
