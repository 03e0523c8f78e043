"""The way in: whom a proxy announces, and one deadline for all of it."""

import socket
import ssl
import struct
from ipaddress import ip_network

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.wire import RawPeer, serving
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from galileod.config.model import Config
from galileod.net.http11 import RequestAbandoned
from galileod.net.peer import Peer
from galileod.net.proxyproto import SIGNATURE, ProxyHeaderError
from galileod.net.settings import Server, Timeouts
from galileod.net.sockets import DirectSocket
from galileod.server.handshake import Incoming
from galileod.units import Duration

pytestmark = pytest.mark.timeout(20)

TRUSTED = (ip_network("10.0.0.0/8"),)
PROXY = Peer("10.0.0.1:4711", "10.0.0.1", "10.0.0.1")
UNIX = Peer("unix", "unix", "unix")
CLIENT = Peer("192.0.2.7:5000", "192.0.2.7", "192.0.2.7")
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def announcing(host: str, port: int = 5000, extra: bytes = b"") -> bytes:
    """A header of version 2 for a client at an IPv4 address."""
    addresses = socket.inet_aton(host) + socket.inet_aton("127.0.0.1")
    body = addresses + struct.pack("!HH", port, 443) + extra
    return SIGNATURE + b"\x21\x11" + struct.pack("!H", len(body)) + body


async def hear(peer: Peer, *pieces: bytes, ends: bool = False) -> tuple[Peer, bytes]:
    """Who is announced in these pieces, one a second, and what of them is left to be read."""
    ours, theirs = memory_stream_pair()
    incoming = Incoming(ours, peer, trio.current_time() + 10)

    async def send() -> None:
        for number, piece in enumerate(pieces):
            await trio.sleep(number and 1)
            await theirs.send_all(piece)
        if ends:
            await theirs.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            await incoming.read_proxy_header(TRUSTED)
        finally:
            nursery.cancel_scope.cancel()
    assert incoming.scheme == "http"
    with trio.move_on_after(1):
        return incoming.peer, bytes(await ours.receive_some())
    return incoming.peer, b""


@pytest.mark.parametrize("peer", [PROXY, UNIX])
@pytest.mark.parametrize(
    ("header", "told"),
    [
        (announcing("192.0.2.7"), CLIENT),
        (announcing("192.0.2.7", extra=b"\x04\x00\x01x" * 100), CLIENT),
        (LOCAL, None),
        (SIGNATURE + b"\x21\x00\x00\x00", None),
    ],
)
async def test_the_peer_is_the_one_that_is_announced(
    autojump_clock: MockClock, peer: Peer, header: bytes, told: Peer | None
) -> None:
    assert await hear(peer, header) == (told or peer, b"")
    assert await hear(peer, header + HEALTH) == (told or peer, HEALTH)


async def test_a_header_may_come_in_pieces(autojump_clock: MockClock) -> None:
    header = announcing("192.0.2.7")
    assert await hear(PROXY, header[:3], header[3:20], header[20:]) == (CLIENT, b"")


@pytest.mark.parametrize(
    ("peer", "sent", "reason"),
    [
        (CLIENT, announcing("192.0.2.9"), "not in server.trusted_proxies"),
        (PROXY, b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n", "version 2"),
        (PROXY, HEALTH, "version 2"),
        (PROXY, b"\x16\x03\x01" + bytes(100), "version 2"),
        (PROXY, SIGNATURE + b"\x21\x11\xff\xff" + bytes(100), "65535 bytes"),
        (PROXY, b"", "in time"),
        (PROXY, announcing("192.0.2.7")[:-1], "in time"),
    ],
)
async def test_what_is_no_header_of_a_trusted_proxys_is_refused(
    autojump_clock: MockClock, peer: Peer, sent: bytes, reason: str
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ProxyHeaderError, match=reason)):
        await hear(peer, sent)


@pytest.mark.parametrize("sent", [b"", announcing("192.0.2.7")[:-1]])
async def test_a_proxy_that_leaves_is_told_apart(autojump_clock: MockClock, sent: bytes) -> None:
    with pytest.RaisesGroup(RequestAbandoned):
        await hear(PROXY, sent, ends=True)


def behind_proxies(per_address: int = 256) -> Config:
    server = Server(trusted_proxies=TRUSTED, max_connections_per_address=per_address)
    return Config(server=server, timeouts=Timeouts(handshake=Duration(10)))


async def test_header_and_request_share_one_deadline(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), behind_proxies()) as wire:
        ours, theirs = memory_stream_pair()
        raw, began = RawPeer(ours), trio.current_time()
        wire.nursery.start_soon(lambda: wire.server.serve(theirs, PROXY, proxy_protocol=True))
        header = announcing("192.0.2.7")
        for piece in (header[:5], header[5:], b"GET / HTTP/1.1\r\n"):
            await trio.sleep(3)
            await raw.send(piece)
        assert (await raw.receive_head()).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - began == pytest.approx(10)


async def test_tls_shares_it_too(autojump_clock: MockClock) -> None:
    near, far = socket.socketpair()
    ours, theirs = DirectSocket(near), trio.SocketStream(trio.socket.from_stdlib_socket(far))
    async with serving(MemoryStore(), behind_proxies()) as wire, theirs:
        wire.server._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        raw, began = RawPeer(theirs), trio.current_time()
        with capture_logs() as logs:
            wire.nursery.start_soon(lambda: wire.server.serve(ours, PROXY, proxy_protocol=True))
            await trio.sleep(6)
            await raw.send(announcing("192.0.2.7"))
            assert await raw.receive_all() == b""
        assert trio.current_time() - began == pytest.approx(10)
    (line,) = logs
    assert line["reason"] == "the TLS handshake was not completed in time"
    assert line["peer"] == CLIENT.name


async def test_clients_that_are_announced_are_capped_each_by_himself(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore(), behind_proxies(2)) as wire:

        async def status(announced: bytes, head: bytes = HEALTH) -> bytes:
            ours, theirs = memory_stream_pair()
            wire.nursery.start_soon(lambda: wire.server.serve(theirs, PROXY, proxy_protocol=True))
            raw = RawPeer(ours)
            await raw.send(announced + head)
            answer = await raw.receive_head() if head else b""
            if b" 503 " in answer:
                await ours.aclose()
            return answer[9:12]

        for _ in range(2):
            await status(announcing("192.0.2.7"), b"")
        await trio.testing.wait_all_tasks_blocked()
        assert await status(announcing("192.0.2.7")) == b"503"
        assert await status(announcing("192.0.2.8")) == b"200"
        # The proxy itself, as often as it likes until it names a client.
        for _ in range(3):
            await status(LOCAL, b"")
        forwarded = HEALTH.replace(b"Host", b"X-Forwarded-For: 192.0.2.7\r\nHost")
        # He is behind a proxy that is behind a proxy.
        assert await status(announcing("10.0.0.9"), forwarded) == b"503"
        # Nobody believes him what he says of himself.
        assert await status(announcing("192.0.2.9"), forwarded) == b"200"
