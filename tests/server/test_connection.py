"""Who is let in, what is said to those who are not, and the wall around each connection."""

import socket
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing
from helpers.captured import captured_tracebacks
from helpers.memory_store import MemoryStore
from helpers.wire import (
    BINARY,
    CLOSE,
    UPGRADE,
    RawPeer,
    Wire,
    frame,
    header,
    serving,
    text_frame,
)
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from galileod.auth.authenticator import Authenticator
from galileod.auth.tickets import TicketKey
from galileod.config.model import Config
from galileod.net.peer import Peer
from galileod.net.settings import Server
from galileod.net.sockets import DirectSocket
from galileod.net.streams import QUIET
from galileod.server import caps
from galileod.storage.base import Sink
from galileod.storage.errors import StorageError

pytestmark = pytest.mark.timeout(20)

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def peer(host: str) -> Peer:
    """The peer of a socket that is connected to `host`."""
    address: object = host if host in ("", "/run/x") else (host, 4711, 0, 0)
    connected = SimpleNamespace(getpeername=lambda: address)
    return Peer.of(cast("socket.socket", connected))


def capped(total: int = 100, per_address: int = 2) -> Config:
    return Config(server=Server(max_connections=total, max_connections_per_address=per_address))


async def accepted(wire: Wire, host: str) -> RawPeer | None:
    """A connection from `host`, or None if it was told that there is no room."""
    raw = wire.connect(peer(host))
    await raw.send(UPGRADE)
    head = await raw.receive_head()
    if head.startswith(b"HTTP/1.1 101 "):
        return raw
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in head.lower()
    assert await raw.receive_all() == b"All connections are in use.\n"
    await raw.stream.aclose()
    return None


@pytest.mark.parametrize(
    ("hosts", "let_in"),
    [
        (["192.0.2.1"] * 3, [True, True, False]),
        (["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"], [True] * 4),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], [True, True, False]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"], [True, True, False]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], [True, True, True]),
        ([""] * 5, [True] * 5),
        ([f"192.0.2.{host}" for host in range(7)], [True] * 5 + [False] * 2),
        ([""] * 6, [True] * 5 + [False]),
    ],
)
async def test_connections_are_capped_in_all_and_per_address(
    autojump_clock: MockClock, hosts: list[str], let_in: list[bool]
) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore(), capped(total=5)) as wire:
            assert [await accepted(wire, host) is not None for host in hosts] == let_in
    refused = [line for line in logs if line["event"] == "connection.refused"]
    assert [(line["status"], line["reason"]) for line in refused] == (
        [(503, "All connections are in use.")] * let_in.count(False)
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", ""])
async def test_a_connection_that_ends_gives_its_place_back(
    autojump_clock: MockClock, host: str
) -> None:
    async with serving(MemoryStore(), capped(total=2)) as wire:
        for _ in range(3):
            peers = [await accepted(wire, host) for _ in range(2)]
            assert await accepted(wire, host) is None
            for raw in peers:
                assert raw
                await raw.stream.aclose()
            await wire.all_ended()
        assert not wire.server._caps._all._held
        assert not wire.server._caps._per_network._held


async def test_those_above_the_caps_who_wait_for_an_answer_are_capped_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps, "MAX_REFUSING", 2)
    async with serving(MemoryStore(), capped(total=1)) as wire:
        assert await accepted(wire, "192.0.2.1")
        slow = [wire.connect(peer("192.0.2.2")) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        flooding = wire.connect(peer("192.0.2.3"))
        began = trio.current_time()
        assert await flooding.receive_all() == b""
        assert trio.current_time() == began
        for raw in slow:
            await raw.send(UPGRADE)
            assert (await raw.receive_head()).startswith(b"HTTP/1.1 503 ")
            await raw.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await accepted(wire, "192.0.2.3") is None


# Health.


class CheckedStore(MemoryStore):
    def __init__(self, seconds: float = 0, error: Exception | None = None) -> None:
        super().__init__()
        self._seconds = seconds
        self._error = error

    async def check(self) -> None:
        await trio.sleep(self._seconds)
        if self._error:
            raise self._error


@pytest.mark.parametrize(
    ("store", "status", "text", "seconds"),
    [
        (CheckedStore(), b"200 OK", b"ok", 0),
        (CheckedStore(4.9), b"200 OK", b"ok", 4.9),
        (
            CheckedStore(error=StorageError("on fire")), b"503 Service Unavailable",
            b"The storage does not work: on fire.", 0,
        ),
        (
            CheckedStore(9999), b"503 Service Unavailable",
            b"The storage does not answer within 5 seconds.", 5,
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_health_is_what_the_store_says(
    autojump_clock: MockClock,
    store: CheckedStore,
    status: bytes,
    text: bytes,
    seconds: float,
    method: str,
) -> None:
    async with serving(store) as wire:
        began = trio.current_time()
        answer = await wire.request(HEALTH.replace(b"GET", method.encode()))
        assert trio.current_time() == pytest.approx(began + seconds)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert b"\r\ncontent-length: %d\r\n" % (len(text) + 1) in head.lower()
    assert body == (b"" if method == "HEAD" else text + b"\n")


@pytest.mark.parametrize("head", [HEALTH, UPGRADE, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_server_that_stops_says_so_to_everyone(
    autojump_clock: MockClock, head: bytes
) -> None:
    async with serving(MemoryStore()) as wire:
        wire.shutdown.no_new_uploads.fire()
        answer = await wire.request(head)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\nThe server is shutting down.\n")


async def test_who_waits_to_hear_that_he_was_wrong_hears_that_the_server_stops(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        wire.context.authenticator = Authenticator(
            ticket_key=TicketKey("HS256", b"0" * 32, "uploads")
        )
        raw = wire.connect(peer("192.0.2.1"))
        await raw.send(UPGRADE.replace(b"Host:", b"Authorization: Bearer wrong\r\nHost:"))
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        wire.shutdown.no_new_uploads.fire()
        assert (await raw.receive_head()).startswith(b"HTTP/1.1 503 ")
        assert trio.current_time() == began


# What is no upload.


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\n", b"408"),
        (b"", None),
    ],
)
async def test_a_refusal_is_answered_and_logged_and_ends_the_connection(
    autojump_clock: MockClock, sent: bytes, status: bytes | None
) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore()) as wire:
            answer = await wire.request(sent)
            await wire.all_ended()
    assert answer.split()[1:2] == ([status] if status else [])
    (line,) = logs
    assert line["event"] == "connection.refused"
    assert line["status"] == (int(status) if status else None)
    assert line["peer"] == "test"


async def test_a_peer_that_goes_away_at_once_is_no_news(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore()) as wire:
            raw = wire.connect()
            await raw.stream.aclose()
            await wire.all_ended()
    assert [(line["event"], line["log_level"]) for line in logs] == (
        [("connection.abandoned", "debug")]
    )


async def test_a_peer_that_is_gone_when_its_request_is_answered_ends_in_silence(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with serving(MemoryStore()) as wire:
            for head in (UPGRADE, HEALTH):
                raw = wire.connect()
                await raw.send(head)
                await raw.stream.aclose()
            await wire.all_ended()
    assert not [line for line in logs if line["log_level"] == "error"]
    closed = [line for line in logs if line["event"] == "connection.closed"]
    assert [line["reason"] for line in closed] == ["the connection was lost"]


# The wall.


class BrokenStore(MemoryStore):
    async def create(self, upload: str, name: str, *_: object, **_keys: object) -> Sink:  # type: ignore[override]
        raise RuntimeError(f"a bug with {upload} and {name}")

    async def check(self) -> None:
        raise RuntimeError("a bug")


class OddStream(trio.abc.HalfCloseableStream):
    """A stream that fails in `at` as no stream should, once so many calls went well."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, at: str, good: int) -> None:
        self._stream = stream
        self._at = at
        self._good = good

    def _fail(self, at: str) -> None:
        if at == self._at:
            self._good -= 1
            if self._good < 0:
                raise RuntimeError(f"odd in {at}")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._fail("receive")
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._fail("send")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._fail("eof")
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize(
    ("at", "good"),
    [("receive", 0), ("receive", 1), ("send", 0), ("send", 1), ("eof", 0)],
)
async def test_a_stream_that_fails_oddly_ends_its_connection_and_nothing_else(
    autojump_clock: MockClock, at: str, good: int
) -> None:
    store = MemoryStore()
    with captured_tracebacks() as logs:
        async with serving(store) as wire:
            other = await wire.open()
            ours, theirs = memory_stream_pair()
            wire.serve(OddStream(theirs, at, good))
            raw = RawPeer(ours)
            metadata = text_frame({"name": "b.bin", "size": 1})
            # Where sending fails, that is the session's doing: the library is given nothing to say.
            await raw.send(UPGRADE + metadata + (b"" if at == "send" else frame(CLOSE)))
            await raw.receive_all()
            await raw.stream.aclose()
            # The other connection was there before, and still works.
            assert await other.upload("a.bin", b"data") == {"close": True}
            await other.close()
            await wire.all_ended()
            assert not wire.server._caps._all._held
    errors = [line for line in logs if "exception" in line]
    assert errors
    assert f"RuntimeError: odd in {at}" in errors[0]["exception"]
    assert errors[0]["log_level"] == "error"
    assert store.contents == {"a.bin": b"data"}


async def test_a_bug_below_is_told_to_the_client_as_internal_and_logged(
    autojump_clock: MockClock,
) -> None:
    with captured_tracebacks() as logs:
        async with serving(BrokenStore()) as wire:
            client = await wire.open()
            assert (await client.upload("a.bin", b"data"))["code"] == "internal"
            assert await client.closed() == (1011, "internal")
            await wire.request(HEALTH)
            await wire.all_ended()
    told = {line["event"]: line["exception"] for line in logs if "exception" in line}
    assert set(told) == {"upload.error", "connection.error"}
    assert "RuntimeError: a bug with" in told["upload.error"]
    assert "RuntimeError: a bug" in told["connection.error"]


async def test_a_socket_that_is_gone_before_it_was_looked_at_is_closed(
    autojump_clock: MockClock,
) -> None:
    gone, other = socket.socketpair()
    with pytest.MonkeyPatch.context() as patch:

        def of(_connected: socket.socket) -> Peer:
            raise OSError("not connected")

        patch.setattr(Peer, "of", of)
        async with serving(MemoryStore()) as wire:
            await wire.server.serve_socket(DirectSocket(gone))
    assert gone.fileno() == -1
    other.close()


@pytest.mark.parametrize("in_mid_chunk", [True, False])
async def test_a_peer_in_mid_chunk_hears_why_before_the_connection_ends(
    autojump_clock: MockClock, *, in_mid_chunk: bool
) -> None:
    """A proxy drops both sides when one ends."""
    del autojump_clock
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        await raw.send(text_frame({"name": "a", "size": 10_000_000}))
        granted = (await raw.receive())["chunksize"]
        length = granted + 1_000_000
        await raw.send(header(BINARY, length) + bytes(granted))
        *_, fault, close = [await raw.receive_frame() for _ in range(16 + 1)]
        assert fault is not None
        assert close is not None
        assert (fault.signal["code"], close.close_code) == ("bad_chunk", 1008)
        ended = trio.Event()

        async def hear_the_end() -> None:
            assert await raw.receive_frame() is None
            ended.set()

        wire.nursery.start_soon(hear_the_end)
        for _ in range(8 if in_mid_chunk else 0):
            await trio.sleep(0.9 * QUIET)
            assert not ended.is_set()
            await raw.send(bytes(1000))
        began = trio.current_time()
        await ended.wait()
        assert trio.current_time() - began <= QUIET
