"""Servers that fail: the exit status of `galileo-send`, and an error message that helps."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
from helpers.receivers import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Peer,
    PerlReceiver,
    Script,
    Scripted,
    after_upgrade,
    says,
)
from helpers.sending import Command

from galileod.client import ConnectError, LostError, RefusedError, UpgradeError, send_file
from galileod.client.command.batch import MAX_WARNINGS

MIB = 1024 * 1024


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
        "upgrade", "HTTP 401. Put a valid token into $GALILEO_TOKEN",
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
        "connect", "If it uses TLS, use wss://; if it is a balancer, no server is behind it now.",
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
    "no json": (says((TEXT, b"hello")), "nonsense", 'The message "hello" is not a JSON signal'),
    "json that is no object": (says((TEXT, b"[1]")), "nonsense", "expected one JSON object"),
    "no utf-8": (says((TEXT, b"\xff\xfe")), "nonsense", "WebSocket protocol"),
    "a frame with a reserved bit": (says((0x40 | TEXT, b"{}")), "nonsense", "WebSocket protocol"),
    "an unknown opcode": (says((0x3, b"{}")), "nonsense", "WebSocket protocol"),
    "data": (says((BINARY, b"data")), "nonsense", "sent a BINARY message"),
    "an endless signal": (says((TEXT, b" " * 200_000)), "nonsense", "more than 65536 characters"),
    "close before the file": (says((TEXT, b'{"close": true}')), "nonsense", "sent close, which"),
    "too many readies": (
        says(*[(TEXT, b'{"ready": true, "chunksize": 1}')] * 3000),
        "nonsense", "ready signals are unanswered",
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
    command: Command, large_file: Path, name: str
) -> None:
    script, kind, sentence = FAILURES[name]
    with Scripted(script) as host:
        status, out, err = command("--retries", "0", host.url, large_file)
        assert (status, out) == (1, "")
        assert err.startswith("galileo-send: ")
        assert sentence in err
        status, out, err = command("--retries", "0", "--json", host.url, large_file)
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


def test_a_wrong_hash_and_a_wrong_size_are_refused_by_a_receiver_like_the_original(
    command: Command, large_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.client.hashing.FileHash.hashes", lambda _: {"sha1": "0" * 40})
    with PerlReceiver() as receiver:
        status, _, err = command(receiver.url, large_file)
    assert status == 1
    assert "The server refused the file: Wrong hash." in err
    assert not receiver.files


@pytest.mark.parametrize("when", ["connecting", "upgrading", "ready", "mid-chunk", "close"])
async def test_a_server_that_falls_silent_is_given_up(when: str, large_file: Path) -> None:
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

    content = b"data" if when == "close" else large_file
    if when == "connecting":
        with full_queue() as port, pytest.raises(ConnectError, match="did not answer within"):
            await send_file(f"ws://127.0.0.1:{port}/", large_file, timeout=0.2)
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


async def test_a_file_is_stored_though_the_server_does_not_close() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.take_file()
        peer.say(close=True)
        peer.wait_for_end()

    with Scripted(script) as host:
        receipt = await send_file(host.url, b"data", name="a", timeout=1)
    assert receipt.size == 4


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
