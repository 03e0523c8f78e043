"""Every way that a server or a network has to fail: an exit status, and a sentence that helps."""

import json
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
import trustme
from helpers.clients import some_bytes
from helpers.receivers import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Peer,
    PerlReceiver,
    Script,
    Scripted,
    connect_proxy,
)
from helpers.sending import Command

from galileod.client import ConnectError, LostError, RefusedError, UpgradeError, send_file
from galileod.client.command.batch import MAX_WARNINGS

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than what the kernel holds for a reader that does not read; zeros, on no disk."""
    path = tmp_path_factory.mktemp("large") / "a.bin"
    path.touch()
    os.truncate(path, 32 * MIB)
    return path


def after_upgrade(script: Script) -> Script:
    def run(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        script(peer)

    return run


def says(*frames: tuple[int, bytes]) -> Script:
    """Sends frames, and listens on."""

    def script(peer: Peer) -> None:
        for opcode, payload in frames:
            peer.frame(opcode, payload)
        peer.goodbye()
        peer.wait_for_end()

    return after_upgrade(script)


def resets_at_the_request(peer: Peer) -> None:
    peer.read_head()
    peer.reset()


def accepts_with_an_extension(peer: Peer) -> None:
    peer.accept("Sec-WebSocket-Extensions: permessage-deflate\r\n")


def refuses_in_mid_chunk(peer: Peer) -> None:
    peer.say(ready=True, chunksize=16 * MIB)
    peer.sock.recv(100_000)
    peer.say(error="No room for this.", fatal=True, code="no_space", size=5)
    peer.frame(CLOSE, b"\x03\xf0")
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_for_end()


def refuses_and_hangs_up(peer: Peer) -> None:
    peer.say(ready=True, chunksize=16 * MIB)
    peer.sock.recv(100_000)
    peer.say(error="No room for this.", fatal=True, code="no_space")
    # The client must have read it before the reset, which may overtake what was sent before.
    peer.sock.recv(100_000)
    while peer.sock.recv(1 * MIB):
        pass
    peer.reset()


def refuses_at_once(peer: Peer) -> None:
    peer.accept()
    peer.say(error="Not now.", fatal=True, code="shutting_down")
    peer.goodbye()


def resets_in_mid_chunk(peer: Peer) -> None:
    peer.say(ready=True, chunksize=16 * MIB)
    peer.sock.recv(100_000)
    peer.reset()


def ends_in_mid_chunk(peer: Peer) -> None:
    peer.say(ready=True, chunksize=16 * MIB)
    peer.sock.recv(100_000)
    peer.sock.shutdown(socket.SHUT_RDWR)


def closes_without_close(peer: Peer) -> None:
    peer.frame(CLOSE, b"\x03\xe9" + b"going away")
    peer.wait_for_end()


def warns_and_hangs_up(peer: Peer) -> None:
    peer.say(error="The disk makes noises.")
    peer.frame(CLOSE, b"")
    peer.wait_for_end()


def sends_half_a_frame(peer: Peer) -> None:
    peer.sock.sendall(bytes([0x80 | TEXT, 20]) + b'{"rea')
    peer.sock.shutdown(socket.SHUT_WR)
    peer.wait_for_end()


def pings_in_mid_chunk_and_refuses(peer: Peer) -> None:
    peer.say(ready=True, chunksize=32 * MIB)
    peer.sock.recv(100_000)
    peer.frame(PING, b"there?")
    peer.say(error="No room for this.", fatal=True)
    peer.sock.shutdown(socket.SHUT_WR)
    peer.stay()  # and read no further


FAILURES: dict[str, tuple[Script, str, str]] = {
    "an http server": (
        lambda peer: peer.answer("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
        "upgrade", "HTTP 200 (hi). Check the URL.",
    ),
    "forbidden": (
        lambda peer: peer.answer("HTTP/1.1 403 Forbidden\nContent-Length: 8\n\nNot you."),
        "upgrade", "HTTP 403 (Not you). Check the URL and the token.",
    ),
    "unauthorized": (
        lambda peer: peer.answer("HTTP/1.1 401 Unauthorized\nConnection: close\n\n"),
        "upgrade", "HTTP 401. Put a token into $GALILEO_TOKEN",
    ),
    "not found": (
        lambda peer: peer.answer(
            "HTTP/1.1 404 Not Found\nContent-Type: text/html\n\n<h1>No</h1>"
        ),
        "upgrade", "HTTP 404. Check the path in the URL.",
    ),
    "full": (
        lambda peer: peer.answer("HTTP/1.1 503 Full\nRetry-After: 9999\nContent-Length: 0\n\n"),
        "upgrade", "HTTP 503. Try again later.",
    ),
    "moved": (
        lambda peer: peer.answer("HTTP/1.1 301 Moved\nLocation: wss://b/\nContent-Length: 0\n\n"),
        "upgrade", "It redirects to wss://b/: use that URL.",
    ),
    "no http": (
        lambda peer: peer.answer("SSH-2.0-OpenSSH_9.2\n\n"),
        "connect", "does not speak HTTP",
    ),
    "an endless head": (
        lambda peer: peer.answer("HTTP/1.1 200 OK\n" + "X: y\n" * 100_000),
        "connect", "does not speak HTTP",
    ),
    "no answer to the request": (
        lambda peer: peer.answer(""),
        "connect", "closed the connection without a response. If it uses TLS, use wss://.",
    ),
    "reset at the request": (
        resets_at_the_request,
        "connect", "closed the connection during the handshake",
    ),
    "a wrong proof": (
        lambda peer: peer.answer(
            "HTTP/1.1 101 Yes\nUpgrade: websocket\nConnection: Upgrade\n"
            "Sec-WebSocket-Accept: abc=\n\n"
        ),
        "connect", "not that of a WebSocket server",
    ),
    "an extension that nobody asked for": (
        accepts_with_an_extension,
        "connect", "not that of a WebSocket server",
    ),
    "hangs up": (
        after_upgrade(lambda peer: peer.sock.shutdown(socket.SHUT_RDWR)),
        "lost", "closed the connection without a Close frame",
    ),
    "resets": (after_upgrade(Peer.reset), "lost", "connection to the server was lost"),
    "resets in mid-chunk": (
        after_upgrade(resets_in_mid_chunk), "lost", "connection to the server was lost",
    ),
    "ends in mid-chunk": (
        after_upgrade(ends_in_mid_chunk), "lost", "connection to the server was lost",
    ),
    "closes behind a ready": (
        says((TEXT, b'{"ready": true, "chunksize": 1}'), (CLOSE, b"")), "lost", "closed the conn",
    ),
    "refuses before it was asked": (refuses_at_once, "refused", "Not now."),
    "closes without close": (
        after_upgrade(closes_without_close),
        "lost", "closed the connection (code 1001, going away)",
    ),
    "closes after a warning": (
        after_upgrade(warns_and_hangs_up), "lost", "the server reported: The disk makes noises.",
    ),
    "half a frame": (after_upgrade(sends_half_a_frame), "lost", "without a Close frame"),
    "no json": (says((TEXT, b"hello")), "nonsense", 'The text "hello" is not a signal'),
    "json that is no object": (says((TEXT, b"[1]")), "nonsense", "expected one JSON object"),
    "no utf-8": (says((TEXT, b"\xff\xfe")), "nonsense", "WebSocket protocol"),
    "a frame with a reserved bit": (says((0x40 | TEXT, b"{}")), "nonsense", "WebSocket protocol"),
    "an unknown opcode": (says((0x3, b"{}")), "nonsense", "WebSocket protocol"),
    "data": (says((BINARY, b"data")), "nonsense", "sent a BINARY message"),
    "an endless signal": (says((TEXT, b" " * 200_000)), "nonsense", "more than 65536 characters"),
    "close before the file": (says((TEXT, b'{"close": true}')), "nonsense", "sent close where"),
    "too many readies": (
        says(*[(TEXT, b'{"ready": true, "chunksize": 1}')] * 3000),
        "nonsense", "ready signals are open",
    ),
    "a fatal error": (
        says((TEXT, b'{"error": "Not today.", "fatal": true, "code": "busy"}')),
        "refused", "The server refused the file: Not today.",
    ),
    "a fatal error without words": (
        says((TEXT, b'{"error": 7, "fatal": 1}')), "refused", "without a reason",
    ),
    "a fatal error that never ends": (
        says((TEXT, b'{"error": "' + b"x" * 30_000 + b'", "fatal": 1}')),
        "refused", "x" * 500 + "\n",
    ),
    "escapes for a terminal": (
        says((TEXT, b'{"error": "\\u001b[2J\\nboo", "fatal": 1}')), "refused", r"\x1b[2J\nboo",
    ),
    "a fatal error in mid-chunk": (
        after_upgrade(refuses_in_mid_chunk), "refused", "No room for this.",
    ),
    "a fatal error behind a ping and no more reading": (
        after_upgrade(pings_in_mid_chunk_and_refuses), "refused", "No room for this.",
    ),
    "a fatal error and no more reading": (
        after_upgrade(refuses_and_hangs_up), "refused", "No room for this.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_server_that_fails_gives_a_status_and_a_sentence(
    command: Command, path: Path, name: str
) -> None:
    script, kind, sentence = FAILURES[name]
    with Scripted(script) as host:
        status, out, err = command("--retries", "0", host.url, path)
        assert (status, out) == (1, "")
        assert err.startswith("galileo-send: ")
        assert sentence in err
        status, out, err = command("--retries", "0", "--json", host.url, path)
    assert (status, err) == (1, "")
    *_, failed, summary = [json.loads(line) for line in out.splitlines()]
    assert failed["event"] == "failed"
    assert failed["kind"] == kind
    assert summary["failed"] == 1


async def test_a_status_is_told_though_its_text_does_not_come() -> None:
    def script(peer: Peer) -> None:
        peer.answer("HTTP/1.1 503 Full\nRetry-After: 7\n\nFull")
        peer.wait_for_end()

    with Scripted(script) as host, pytest.raises(UpgradeError, match=r"503 \(Full\)") as full:
        await send_file(host.url, b"data", name="a", timeout=0.5)
    assert full.value.retry_after == 7


def test_a_server_that_does_not_stop_talking_is_cut_short(command: Command, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.take_file()
        for _ in range(MAX_WARNINGS + 5):
            peer.say(error="w" * 30_000)
        if peer.number == 1:
            peer.say(close=True, name="n" * 30_000)
            peer.goodbye()

    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script) as host:
        status, out, err = command(host.url, tmp_path / "a")
        assert status == 0
        assert len(out) < 1000
        assert err.count("\n") == MAX_WARNINGS
        assert max(map(len, err.splitlines())) < 1000
        status, _, err = command(host.url, tmp_path / "a")
    assert status == 1
    assert len(err.splitlines()[-1]) < 1000


def test_a_closed_port_is_told(command: Command, path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, _, err = command("--retries", "0", f"ws://127.0.0.1:{port}/", path)
    assert status == 1
    assert (
        f"Cannot connect to the server at 127.0.0.1:{port}: connection refused. Is it running?"
        in err
    )


def test_a_socket_that_is_not_there_is_told(command: Command, path: Path, tmp_path: Path) -> None:
    status, _, err = command("--retries", "0", f"ws+unix:{tmp_path}/none.sock", path)
    assert status == 1
    assert "none.sock: there is no such socket. Is it running?" in err


def test_a_name_that_does_not_resolve_is_told(command: Command, path: Path) -> None:
    status, _, err = command("--retries", "0", "ws://galileod.invalid/", path)
    assert status == 1
    assert "The host name of the server at galileod.invalid cannot be resolved" in err


def test_a_wrong_hash_and_a_wrong_size_are_refused_by_a_receiver_like_the_original(
    command: Command, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.client.hashing.FileHash.hashes", lambda _: {"sha1": "0" * 40})
    with PerlReceiver() as receiver:
        status, _, err = command(receiver.url, path)
    assert status == 1
    assert "The server refused the file: Wrong hash." in err
    assert not receiver.files


@pytest.mark.parametrize("when", ["connecting", "upgrading", "ready", "mid-chunk", "close"])
async def test_a_server_that_falls_silent_is_given_up(when: str, path: Path) -> None:
    over = threading.Event()

    def script(peer: Peer) -> None:
        if when == "upgrading":
            over.wait()
            return
        peer.accept()
        if when == "close":
            peer.take_file()
        elif when == "mid-chunk":
            peer.hear()
            peer.say(ready=True, chunksize=16 * MIB)
        over.wait()

    content = b"data" if when == "close" else path
    if when == "connecting":
        with full_queue() as port, pytest.raises(ConnectError, match="did not answer within"):
            await send_file(f"ws://127.0.0.1:{port}/", path, timeout=0.2)
        return
    with Scripted(script) as host:
        kind = ConnectError if when == "upgrading" else LostError
        with pytest.raises(kind) as failed:
            await send_file(host.url, content, name="a", timeout=0.3)
        over.set()
    assert failed.value.transient is (when != "close")


@contextmanager
def full_queue() -> Iterator[int]:
    """The port of a listener that answers nobody any more."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def test_time_in_which_the_source_gives_nothing_is_not_the_servers(
    perl: PerlReceiver,
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"12"
        await trio.sleep(0.5)
        yield b"34"

    receipt = await send_file(perl.url, slow(), name="a", size=4, timeout=0.2)
    assert receipt.size == 4


async def test_a_ping_is_answered_while_a_file_is_sent() -> None:
    answered: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.frame(PING, b"there?")
        while (frame := peer.read_frame())[0] != 0xA:
            pass
        answered.append(frame[1])
        peer.say(error="enough", fatal=True)
        peer.wait_for_end()

    with Scripted(script) as host, pytest.raises(RefusedError, match="enough"):
        await send_file(host.url, b"data", name="a")
    assert answered == [b"there?"]


async def test_a_connection_lost_after_finished_is_uncertain_and_not_tried_again() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.take_file()
        peer.reset()

    with Scripted(script) as host, pytest.raises(LostError, match="may be stored") as lost:
        await send_file(host.url, b"data", name="a")
    assert lost.value.uncertain
    assert not lost.value.transient


async def test_a_full_server_says_how_long_to_wait() -> None:
    def script(peer: Peer) -> None:
        peer.answer("HTTP/1.1 503 Full\nRetry-After: 7\nContent-Length: 5\n\nFull.")

    with Scripted(script) as host, pytest.raises(UpgradeError) as full:
        await send_file(host.url, b"data", name="a")
    assert (full.value.status, full.value.retry_after, full.value.transient) == (503, 7.0, True)


def test_an_unknown_authority_is_told_and_not_tried_again(
    command: Command, authority: trustme.CA, path: Path
) -> None:
    context = server_tls(authority)

    def script(peer: Peer) -> None:
        raise AssertionError(peer)

    with Scripted(script, tls=context) as host:
        status, _, err = command(host.url, path)
    assert status == 1
    assert "certificate" in err
    assert "pass the certificate of its CA with --ca" in err
    assert "attempt" not in err


def test_a_certificate_for_another_host_is_told(
    command: Command, authority: trustme.CA, path: Path, tmp_path: Path
) -> None:
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("elsewhere.example").configure_cert(context)

    with Scripted(lambda _: None, tls=context) as host:
        status, _, err = command("--ca", pem, host.url, path)
    assert status == 1
    assert "is not trusted: " in err


def test_tls_to_a_server_without_it_is_told(command: Command, path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_for_end()

    with Scripted(script) as host:
        status, _, err = command("--retries", "0", host.url.replace("ws:", "wss:"), path)
    assert status == 1
    assert "use ws://" in err


def test_a_port_that_speaks_tls_is_told(
    command: Command, authority: trustme.CA, path: Path
) -> None:
    with PerlReceiver(server_tls(authority)) as receiver:
        status, _, err = command("--retries", "0", receiver.url.replace("wss:", "ws:"), path)
    assert status == 1
    assert "use wss://" in err


def test_a_tls_alert_is_known(command: Command, path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    with Scripted(script) as host:
        status, _, err = command(host.url, path)
    assert status == 1
    assert (
        err == f"galileo-send: {path}: The server at 127.0.0.1:{host.port} uses TLS: use wss://.\n"
    )


def test_an_authority_that_is_another_is_told_as_such(
    command: Command, authority: trustme.CA, path: Path, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with Scripted(lambda _: None, tls=server_tls(authority)) as host:
        _, _, err = command("--ca", tmp_path / "other.pem", host.url, path)
    assert f"Its CA is not in {tmp_path}/other.pem." in err
    assert "--ca" not in err


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            "HTTP/1.1 403 No\nContent-Length: 0\n\n",
            "HTTP 403. The request was for a connection to ",
        ),
        (
            "HTTP/1.1 502 No\nContent-Length: 0\n\n",
            "HTTP 502. The request was for a connection to ",
        ),
        ("SSH-2.0-OpenSSH_9.2\n\n", "does not speak HTTP."),
        ("", "closed the connection without a response."),
    ],
)
def test_a_proxy_that_does_not_go_along_is_named(
    command: Command, path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, sentence: str
) -> None:
    with Scripted(lambda peer: peer.answer(answer)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        status, _, err = command("--retries", "0", "ws://server.example/", path)
    assert status == 1
    assert f"he proxy 127.0.0.1:{proxy.port} " in err
    assert sentence in err
    assert "Check the URL" not in err
    assert "use wss://" not in err


def test_with_its_authority_a_server_is_trusted(
    command: Command, authority: trustme.CA, tmp_path: Path
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(data := some_bytes(1_000_000))
    with PerlReceiver(server_tls(authority)) as receiver:
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert receiver.files[0].data == data


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with PerlReceiver() as receiver, connect_proxy("me:p@ss") as (port, asked):
        monkeypatch.setenv(variable, f"http://me:p%40ss@127.0.0.1:{port}")
        status, _, err = command(receiver.url, tmp_path / "a")
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]
    assert receiver.files[0].data == b"data"


def test_tls_goes_through_a_proxy(
    command: Command, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(b"data")
    with PerlReceiver(server_tls(authority)) as receiver, connect_proxy() as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY"])
def test_a_proxy_may_be_spoken_to_over_tls(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    authority: trustme.CA,
    tmp_path: Path,
    variable: str,
) -> None:
    pem, path = tmp_path / "ca.pem", tmp_path / "a.bin"
    authority.cert_pem.write_to_path(str(pem))
    path.write_bytes(data := some_bytes(1_000_000))
    # For wss it is TLS in TLS.
    server = server_tls(authority) if variable == "HTTPS_PROXY" else None
    with (
        PerlReceiver(server) as receiver,
        connect_proxy("me:pass", tls=server_tls(authority)) as (port, asked),
    ):
        monkeypatch.setenv(variable, f"https://me:pass@localhost:{port}")
        status, _, err = command("--ca", pem, receiver.url, path)
        assert status == 0, err
    assert asked == [f"localhost:{receiver.port}"]
    assert receiver.files[0].data == data


def test_a_proxy_whose_certificate_is_not_trusted_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with connect_proxy(tls=server_tls(authority)) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{port}")
        status, _, err = command("wss://server.example/", tmp_path / "a")
    assert status == 1
    assert f"The certificate of the proxy localhost:{port} is not trusted" in err
    assert "--ca" in err
    assert not asked


def test_a_proxy_that_refuses_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with connect_proxy("me:right") as (port, _):
        monkeypatch.setenv("ALL_PROXY", f"http://me:wrong@127.0.0.1:{port}")
        status, _, err = command("ws://server.example/", tmp_path / "a")
    assert status == 1
    assert f"The proxy 127.0.0.1:{port} answered with HTTP 407" in err
    assert "wrong" not in err


def test_a_proxy_that_does_not_reach_the_server_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    with connect_proxy() as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        status, _, err = command("--retries", "0", f"ws://127.0.0.1:{closed}/", tmp_path / "a")
    assert status == 1
    assert "answered with HTTP 502" in err


def test_a_proxy_that_is_not_there_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    status, _, err = command("--retries", "0", "ws://server.example/", tmp_path / "a")
    assert status == 1
    assert "Cannot connect to the proxy 127.0.0.1:1: connection refused." in err


def test_a_unix_socket_is_spoken_to(command: Command, tmp_path: Path) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        head = peer.accept()
        assert head[""] == "GET /upload HTTP/1.1"
        assert head["host"] == "localhost"
        got.append(peer.take_file())
        peer.say(close=True)
        peer.goodbye()

    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script, unix=tmp_path / "s.sock") as host:
        status, _, err = command(host.url, tmp_path / "a")
    assert status == 0, err
    assert got == [b"data"]


@pytest.mark.parametrize("failing", [Peer.reset, lambda peer: peer.answer("HTTP/1.1 503 No\n\n")])
def test_a_server_that_fails_twice_and_then_works_is_tried_three_times(
    command: Command, tmp_path: Path, failing: Callable[[Peer], None]
) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        if peer.number < 3:
            failing(peer)
            return
        peer.accept()
        got.append(peer.take_file())
        peer.say(close=True)
        peer.goodbye()

    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script) as host:
        status, out, err = command("--retry-delay", "0", host.url, tmp_path / "a")
    assert status == 0, err
    assert got == [b"data"]
    assert "stored" in out
    assert "Attempt 3 begins" in err


def test_a_refusal_is_not_tried_again(command: Command, tmp_path: Path) -> None:
    script = says((TEXT, b'{"error": "Not today.", "fatal": true, "code": "too_large"}'))
    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script) as host:
        status, _, _ = command("--retry-delay", "0", host.url, tmp_path / "a")
        assert host.connections == 1
    assert status == 1


def test_attempts_are_counted_and_end(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with Scripted(Peer.reset) as host:
        status, _, err = command("--retry-delay", "0", "--retries", "4", host.url, tmp_path / "a")
        assert host.connections == 5
    assert status == 1
    assert "(after 5 attempts)" in err
