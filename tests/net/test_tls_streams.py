"""What TLS sends and receives without waiting, many records at a time."""

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from helpers.certificates import make_certificate
from helpers.wire import TEXT, Frame, RawPeer

from galileod.net import records
from galileod.net.records import RECORD, RECORDS_AT_ONCE, SLICE, Records
from galileod.net.sending import FrameSender, encode_frame
from galileod.net.settings import Tls
from galileod.net.sockets import DirectSocket
from galileod.net.streams import close_in_order
from galileod.net.tls import TlsStream, accept_tls, load_context

pytestmark = pytest.mark.timeout(30)

LARGE = 20_000_000
"""More bytes than the kernel takes."""

CA = trustme.CA()

Theirs = trio.SSLStream[trio.SocketStream]


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's."""
    certificate = make_certificate(tmp_path, CA)
    ours = load_context(Tls(str(certificate.chain), str(certificate.key)))
    theirs = ssl.create_default_context()
    CA.configure_trust(theirs)
    assert ours
    return ours, theirs


@asynccontextmanager
async def connected(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> AsyncIterator[tuple[TlsStream, Theirs]]:
    """Both ends of a connection over TCP, after the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    plain = trio.SocketStream(trio.socket.from_stdlib_socket(far))
    theirs = trio.SSLStream(plain, contexts[1], server_hostname="localhost", https_compatible=True)
    made = list[TlsStream]()

    async def accept() -> None:
        made.append(await accept_tls(DirectSocket(near), contexts[0], 5))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await theirs.do_handshake()
        try:
            yield made[0], theirs
        finally:
            made[0].close()
            await plain.aclose()


async def receive_all(theirs: Theirs) -> bytes:
    data = bytearray()
    while more := await theirs.receive_some():
        data += more
    return bytes(data)


async def test_many_records_come_at_once_but_no_more_than_was_asked_for(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    data = bytes(range(256)) * 8 * 1024
    async with connected(contexts) as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, data)
        pieces = list[bytes]()
        while sum(map(len, pieces)) < len(data):
            pieces.append(await ours.receive_some(100_000))
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) > 4 * RECORD
        assert max(map(len, pieces)) <= 100_000


async def test_nothing_is_received_without_waiting_if_nothing_is_there(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, theirs):
        assert ours.receive_nowait(10) is None
        await theirs.send_all(b"0123456789abc")
        assert await ours.receive_some(10) == b"0123456789"
        assert ours.receive_nowait(10) == b"abc"
        assert ours.receive_nowait(10) is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.send_all, b"later")
            assert await ours.receive_some(10) == b"later"


async def test_what_the_kernel_does_not_take_at_once_is_sent_when_the_peer_reads(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    data = bytes(range(256)) * (LARGE // 256)
    async with connected(contexts) as (ours, theirs):
        assert not ours.send_nowait(data)
        received = list[bytes]()

        async def receive() -> None:
            received.append(await receive_all(theirs))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await ours.flush()
            await ours.send_all(b"more" * LARGE)
            await ours.send_eof()
        assert received == [data + b"more" * LARGE]


async def test_frames_of_several_tasks_do_not_mix_though_the_kernel_takes_parts(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, theirs):
        sender, peer = FrameSender(ours), RawPeer(trio.StapledStream(theirs, theirs))
        payloads = [bytes([number]) * (LARGE // 10 + number) for number in range(10)]
        frames = list[Frame | None]()
        async with trio.open_nursery() as nursery:
            for payload in payloads:
                nursery.start_soon(sender.send, encode_frame(TEXT, payload))
            frames += [await peer.receive_frame() for _ in payloads]
        assert sorted(each.payload for each in frames if each) == payloads


async def test_a_stream_is_closed_in_order_though_the_kernel_has_no_room_for_the_goodbye(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, theirs), trio.open_nursery() as nursery:
        assert not ours.send_nowait(bytes(LARGE))
        nursery.start_soon(close_in_order, ours, 10)
        assert await receive_all(theirs) == bytes(LARGE)
        await theirs.transport_stream.aclose()


async def test_a_peer_that_reads_nothing_cannot_collect_answers(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(contexts) as (ours, theirs):
        assert not ours.send_nowait(bytes(LARGE))
        monkeypatch.setattr(records, "ANSWERS", 10)
        ours.send_nowait(b"an answer of more than ten bytes")
        await theirs.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError, match="does not read"):
            await ours.receive_some(10)


async def test_a_peer_that_ends_with_goodbye_may_still_be_told_something(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, theirs):
        client = theirs._ssl_object
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        await theirs.transport_stream.send_all(theirs._outgoing.read())
        for _ in range(2):
            assert await ours.receive_some(10) == b""
        await ours.send_all(b"last words")
        assert await theirs.transport_stream.receive_some()


async def test_a_closed_stream_is_not_used_again(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, _):
        ours.close()
        for use in (
            lambda: ours.send_nowait(b"x"),
            lambda: ours.receive_nowait(10),
            ours.end_nowait,
        ):
            with pytest.raises(trio.ClosedResourceError):
                use()


async def test_a_connection_that_was_reset_is_broken(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with connected(contexts) as (ours, theirs):
        plain = theirs.transport_stream
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await plain.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some(10)
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")
        await close_in_order(ours, 5)


# Without sockets.


def pair(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> tuple[Records, Callable[[bytes], bytes]]:
    """The server's side after the handshake, and a client's function that encrypts."""
    ours, incoming, outgoing = Records(contexts[0]), ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
    complete = False
    while not complete:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass  # our turn
        ours.feed(outgoing.read())
        complete = ours.shake_hands()
        incoming.write(ours.take_unsent())

    def encrypt(data: bytes) -> bytes:
        client.write(data)
        return outgoing.read()

    return ours, encrypt


def test_records_are_decrypted_wherever_they_are_cut(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ours, encrypt = pair(contexts)
    data = bytes(range(256)) * 300
    ciphertext = encrypt(data)
    received = b""
    for size in (1, 2, 6, 1000, RECORD, RECORD + 1, SLICE):
        piece, ciphertext = ciphertext[:size], ciphertext[size:]
        if piece:
            ours.feed(piece)
        while not ours.drained:
            received += ours.decrypt(10_000) or b""
    assert received == data


def test_a_turn_ends_after_so_many_records(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ours, encrypt = pair(contexts)
    ours.feed(b"".join(encrypt(b"x") for _ in range(3 * RECORDS_AT_ONCE)))
    turns = list[int]()
    while not ours.drained:
        turns.append(len(ours.decrypt(100_000) or b""))
    assert sum(turns) == 3 * RECORDS_AT_ONCE
    assert len(turns) >= 3


def test_what_came_before_an_invalid_record_is_delivered(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ours, encrypt = pair(contexts)
    good, spoiled = encrypt(b"good"), bytearray(encrypt(b"spoiled"))
    spoiled[-1] ^= 1
    ours.feed(good + spoiled)
    assert ours.decrypt(100) == b"good"
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|record.layer.failure"):
            ours.decrypt(100)
    ours.end()


def test_an_end_after_part_of_a_record_is_an_end(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ours, encrypt = pair(contexts)
    ours.feed(encrypt(b"good") + encrypt(b"cut off")[:-1])
    assert ours.decrypt(100) == b"good"
    while not ours.drained:
        assert ours.decrypt(100) is None
    ours.feed(b"")
    for _ in range(2):
        assert ours.decrypt(100) == b""
