"""TLS over real sockets: with Python's own client, and with what is no TLS at all."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from galileod.net.http11 import RequestAbandoned
from galileod.net.settings import Tls
from galileod.net.sockets import DirectSocket
from galileod.net.streams import close_in_order
from galileod.net.tls import CertificateError, HandshakeError, TlsStream, accept_tls, load_context

pytestmark = pytest.mark.timeout(30)

CA = trustme.CA()


def issue(folder: Path, name: str = "server", host: str = "localhost") -> tuple[str, str]:
    made = CA.issue_cert(host)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return str(certificate), str(key)


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    made = load_context(Tls(*issue(tmp_path)))
    assert made
    return made


def client_context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    CA.configure_trust(made)
    return made


@asynccontextmanager
async def sockets() -> AsyncIterator[tuple[DirectSocket, trio.SocketStream]]:
    """Two ends of one connection."""
    near, far = socket.socketpair()
    ours, theirs = DirectSocket(near), trio.SocketStream(trio.socket.from_stdlib_socket(far))
    async with ours, theirs:
        with trio.fail_after(20):
            yield ours, theirs


async def speak(
    theirs: trio.SocketStream, context: ssl.SSLContext | None = None
) -> trio.SSLStream[trio.SocketStream]:
    return trio.SSLStream(theirs, context or client_context(), server_hostname="localhost")


async def test_bytes_go_both_ways_and_both_say_goodbye(context: ssl.SSLContext) -> None:
    got = bytearray()

    async def client(theirs: trio.SocketStream) -> None:
        tls = await speak(theirs)
        await tls.send_all(b"x" * 1_000_000)
        # Strict: an end without the goodbye of TLS would raise.
        while data := await tls.receive_some():
            got.extend(data)
        await tls.aclose()

    async with sockets() as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(client, theirs)
        stream = await accept_tls(ours, context, 5)
        length = 0
        while length < 1_000_000:
            length += len(await stream.receive_some())
        await stream.send_all(b"last words")
        await close_in_order(stream, 5)
    assert got == b"last words"


async def test_the_last_words_arrive_although_the_peer_goes_on(context: ssl.SSLContext) -> None:
    got = bytearray()

    async def babble(tls: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while True:
                await tls.send_all(b"x" * 100_000)
        except trio.BrokenResourceError:
            pass  # we have left

    async with sockets() as (ours, theirs), trio.open_nursery() as nursery:
        tls = await speak(theirs)

        async def serve() -> None:
            stream = await accept_tls(ours, context, 5)
            await stream.send_all(b"last words")
            await close_in_order(stream, 1)

        nursery.start_soon(serve)
        await tls.do_handshake()
        nursery.start_soon(babble, tls)
        while data := await tls.receive_some():
            got.extend(data)
    assert got == b"last words"


async def test_an_end_without_goodbye_is_an_end(context: ssl.SSLContext) -> None:
    async with sockets() as (ours, theirs), trio.open_nursery() as nursery:
        made: list[TlsStream] = []

        async def serve() -> None:
            made.append(await accept_tls(ours, context, 5))

        nursery.start_soon(serve)
        tls = await speak(theirs)
        await tls.do_handshake()
        await tls.send_all(b"half")
        await theirs.aclose()
        while not made:
            await trio.lowlevel.checkpoint()
        assert await made[0].receive_some() == b"half"
        assert await made[0].receive_some() == b""


async def test_plain_http_is_to_be_told_in_plain_http(context: ssl.SSLContext) -> None:
    async with sockets() as (ours, theirs):
        await theirs.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(HandshakeError, match="requires TLS") as failed:
            await accept_tls(ours, context, 5)
        assert failed.value.response
        assert failed.value.response.status == 400


@pytest.mark.parametrize("said", [b"\x16\x03\x01\xff\xff" + b"x" * 300, b"\0" * 500])
async def test_what_is_neither_is_refused(context: ssl.SSLContext, said: bytes) -> None:
    async with sockets() as (ours, theirs):
        await theirs.send_all(said)
        await theirs.send_eof()
        with pytest.raises(HandshakeError, match="the TLS handshake failed: ") as failed:
            await accept_tls(ours, context, 5)
        assert failed.value.response is None


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x00\xc8\x01"])
async def test_a_peer_that_leaves_within_the_handshake_is_told_apart(
    context: ssl.SSLContext, said: bytes
) -> None:
    async with sockets() as (ours, theirs):
        await theirs.send_all(said)
        await theirs.send_eof()
        with pytest.raises(RequestAbandoned):
            await accept_tls(ours, context, 5)


async def test_a_handshake_has_its_time(
    context: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    async with sockets() as (ours, _):
        began = trio.current_time()
        with pytest.raises(HandshakeError, match="in time"):
            await accept_tls(ours, context, 5)
        assert trio.current_time() == began + 5


def handshake(context: ssl.SSLContext, ours: ssl.SSLContext) -> str:
    """The version that the two come to speak. Raises ssl.SSLError."""
    near, far = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(near, far, server_side=True)
    client = context.wrap_bio(far, near, server_hostname="localhost")
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass  # the other one's turn
    return str(client.version())


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_1, None),
        (ssl.TLSVersion.TLSv1, None),
    ],
)
def test_todays_versions_are_spoken_and_no_older_ones(
    context: ssl.SSLContext, version: ssl.TLSVersion, spoken: str | None
) -> None:
    theirs = client_context()
    theirs.set_ciphers("ALL:@SECLEVEL=0")
    theirs.minimum_version = theirs.maximum_version = version
    if spoken:
        assert handshake(theirs, context) == spoken
    else:
        with pytest.raises(ssl.SSLError):
            handshake(theirs, context)


@pytest.mark.parametrize("cipher", ["AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "NULL"])
def test_ciphers_without_forward_secrecy_or_authentication_are_not_spoken(
    context: ssl.SSLContext, cipher: str
) -> None:
    theirs = client_context()
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    theirs.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(theirs, context)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path)
    other = issue(tmp_path, "other")[1]
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    missing = str(tmp_path / "missing")
    for pair, told in (
        ((certificate, other), f"{other}: is not the key of {certificate}"),
        ((missing, key), f"{missing}: cannot be read: No such file"),
        ((certificate, missing), f"{missing}: cannot be read: No such file"),
        ((str(nonsense), key), f"{nonsense}: expected a chain"),
        ((certificate, str(nonsense)), "expected a chain"),
        ((certificate, str(tmp_path)), f"{tmp_path}: cannot be read: Is a directory"),
    ):
        with pytest.raises(CertificateError) as error:
            load_context(Tls(*pair))
        assert told in str(error.value)


def test_a_key_with_a_password_is_named(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path)
    loaded = load_pem_private_key(Path(key).read_bytes(), None)
    Path(key).write_bytes(
        loaded.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
    )
    with pytest.raises(CertificateError, match="without a password"):
        load_context(Tls(certificate, key))
