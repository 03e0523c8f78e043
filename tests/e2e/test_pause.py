"""A process that was stopped for longer than a timeout reads what came before it judges."""

import socket
import ssl
import subprocess
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from helpers.certificates import make_certificate
from helpers.clients import (
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    read_head,
    request,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from helpers.pausing import stopped, wait_until
from helpers.receivers import Peer, Scripted, after_upgrade
from helpers.sending import GALILEO_SEND

TIMEOUT = 2
PAUSE = 3.5

MANY = 8
"""Uploads in one pause: which of two tasks runs first after it is a matter of chance."""


def pause(host: Daemon, seconds: float = PAUSE) -> AbstractContextManager[None]:
    return stopped(host.pid, host.send_signal, seconds)


def limited(key: str) -> dict[str, dict[str, object]]:
    return {"timeouts": {key: TIMEOUT}}


def test_data_that_came_in_a_pause_is_not_idle(daemon: Daemons) -> None:
    host = daemon(limited("idle"))
    data = some_bytes(1000)
    with ExitStack() as stack:
        uploads = [stack.enter_context(open_websocket(host.url)) for _ in range(MANY)]
        for websocket in uploads:
            say(websocket, name=unique_name(), size=len(data))
            expect_ready(websocket)
        with pause(host):
            for websocket in uploads:
                websocket.send(data)
        for websocket in uploads:
            expect_ready(websocket)
            say(websocket, finished=True)
            assert hear(websocket)["close"]
    assert len(host.visible()) == MANY


def test_data_that_came_in_a_pause_is_not_too_slow(daemon: Daemons) -> None:
    idle, waited = 4 * TIMEOUT, 5.0
    host = daemon({"timeouts": {"idle": idle}, "limits": {"min_rate": "1MB"}})
    data = some_bytes(1000)
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.bin", size=len(data))
        expect_ready(websocket)
        # So long it waits for the client; with the pause, for longer than the time of the average.
        wait_until(time.monotonic() + waited)
        websocket.ping().wait(DEADLINE)
        with pause(host, idle - waited + 1):
            websocket.send(data)
        expect_ready(websocket)
        say(websocket, finished=True)
        assert hear(websocket)["close"]


def test_metadata_that_came_in_a_pause_is_in_time(daemon: Daemons) -> None:
    host = daemon(limited("metadata"))
    with open_websocket(host.url) as websocket:
        with pause(host):
            say(websocket, name="a.bin", size=1)
        expect_ready(websocket)


def test_a_client_that_closed_in_a_pause_has_closed(daemon: Daemons) -> None:
    host = daemon(limited("close"))
    with ExitStack() as stack:
        uploads = [stack.enter_context(open_websocket(host.url)) for _ in range(MANY)]
        for websocket in uploads:
            say(websocket, name=unique_name(), size=0)
            expect_ready(websocket)
            say(websocket, finished=True)
            assert hear(websocket)["close"]
        with pause(host):
            for websocket in uploads:
                websocket.protocol.send_close(1000)
                websocket.socket.sendall(b"".join(websocket.protocol.data_to_send()))
    poll("the ends", lambda: len(ends(host)) == MANY)
    assert set(ends(host)) == {"closed by the peer (code 1000)"}


def ends(host: Daemon) -> list[str]:
    """Why each connection ended."""
    return [line["reason"] for line in host.log() if line["event"] == "connection.closed"]


def test_a_request_that_came_in_a_pause_is_in_time(daemon: Daemons) -> None:
    host = daemon({"timeouts": {"handshake": TIMEOUT}})
    head = request("/upload", {"X-Filler": "x" * 12_000})
    with host.dial() as sock:
        sock.sendall(head[:10])
        poll("the first bytes to be read", lambda: unread(host, sock) == 0)
        with pause(host):
            sock.sendall(head[10:])
        assert read_head(sock).status == 101


def unread(host: Daemon, sock: socket.socket) -> int:
    """The bytes of our connection that the daemon's kernel holds."""
    ours = f"{sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, state, queues, *_ = line.split()
        if remote.endswith(f":{ours}") and state == "01":
            return int(queues.partition(":")[2], 16)
    raise AssertionError("the connection was closed")


def test_a_tls_handshake_that_went_on_in_a_pause_is_in_time(
    daemon: Daemons, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    tls = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    host = daemon({"tls": tls, "timeouts": {"handshake": TIMEOUT}})
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = certificate.trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with host.dial() as sock:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
            else:
                break
        secured.write(request())
        # The end of the handshake, and the request.
        with pause(host):
            sock.sendall(outgoing.read())
        while True:
            incoming.write(sock.recv(65536))
            try:
                assert secured.read(65536).startswith(b"HTTP/1.1 101 ")
            except ssl.SSLWantReadError:  # a session ticket
                continue
            break


def test_a_client_that_stays_silent_after_a_pause_is_idle(daemon: Daemons) -> None:
    host = daemon(limited("idle"))
    with open_websocket(host.url) as websocket:
        say(websocket, name=unique_name(), size=1000)
        expect_ready(websocket)
        with pause(host):
            pass
        expect_fault(websocket, "idle")


def test_what_a_server_said_while_the_client_was_stopped_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    sending: list[subprocess.Popen[bytes]] = []

    def script(peer: Peer) -> None:
        peer.say(ready=True)
        assert peer.read_frame()[1] == b"content"
        peer.say(ready=True)
        assert peer.hear()["finished"]
        (client,) = sending
        with stopped(client.pid, client.send_signal, PAUSE):
            peer.say(close=True)
        peer.goodbye()

    with Scripted(after_upgrade(script)) as server:
        command = [str(GALILEO_SEND), "--timeout", str(TIMEOUT), server.url, str(path)]
        sending.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        out, err = sending[0].communicate(timeout=DEADLINE)
    assert (sending[0].returncode, err) == (0, b""), out
