"""Sockets that systemd passes, and what it hears, with a parent that acts as systemd does."""

import json
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from helpers.clients import (
    JavaScriptClient,
    ask,
    check_serves,
    expect_ready,
    hear,
    open_websocket,
    say,
)
from helpers.daemon import DEADLINE, Daemon, Daemons, Settings, poll

OPEN: Settings = {"auth": {"mode": "none"}}
"""What one who listens on more than loopback must say."""

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def listening(address: tuple[str, int] | str = ("127.0.0.1", 0)) -> socket.socket:
    """What a socket unit opens."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if not isinstance(address, str) and ":" in address[0]:
        family = socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.bind(address)
    opened.listen()
    return opened


def named(listener: socket.socket) -> str:
    """In the form of `server.listen`."""
    address = listener.getsockname()
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="galileod-") as folder:
        yield Path(folder)


def test_passed_sockets_are_served_and_what_is_missing_is_opened(
    daemon: Daemons, run_folder: Path
) -> None:
    path = run_folder / "passed.sock"
    with ExitStack() as stack:
        passed = [
            stack.enter_context(closing(listening(address)))
            for address in (("127.0.0.1", 0), ("::1", 0), str(path))
        ]
        names = [named(one) for one in passed]
        host = daemon({"server": {"listen": ["127.0.0.1:0", *reversed(names)]}}, sockets=passed)
        assert host.listen[:3] == names
        assert len(host.listen) == 4
        for name in host.listen:
            if name.startswith("unix:"):
                dialed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                dialed.connect(str(path))
            else:
                where, _, port = name.rpartition(":")
                dialed = socket.create_connection((where.strip("[]"), int(port)), DEADLINE)
            assert ask(host, HEALTH, sock=dialed).status == 200
        check_serves(host)
        assert host.stop() == 0
        assert path.exists()  # systemd's, and the next process listens there


def test_a_name_that_stands_for_a_passed_address_is_not_opened_again(daemon: Daemons) -> None:
    with closing(listening()) as passed:
        port = passed.getsockname()[1]
        host = daemon({"server": {"listen": [f"localhost:{port}"]}}, sockets=[passed])
        assert host.listen == [f"127.0.0.1:{port}"]
        assert host.stop() == 0


def failure(host: Daemon) -> str:
    """Why it did not start; the log's one line."""
    host.spawn()
    assert host.wait() == 1
    (line,) = host.text().splitlines()
    entry = json.loads(line)
    assert entry["event"] == "server.failed"
    host.stderr.write_text("")  # looked at, so that it may hold a line of level critical
    return str(entry["reason"])


def test_a_passed_socket_that_is_not_configured_is_an_error_that_names_both(
    daemon: Daemons,
) -> None:
    with closing(listening()) as passed:
        reason = failure(daemon(sockets=[passed], start=False))
        assert f"systemd listens on {named(passed)}" in reason
        assert "server.listen" in reason
        assert "127.0.0.1:0" in reason


def test_a_passed_socket_within_an_address_that_is_configured_is_told_as_such(
    daemon: Daemons,
) -> None:
    """It would be in the way, which the address by itself would not say."""
    with closing(listening()) as passed:
        names = named(passed)
        everywhere = f"0.0.0.0:{passed.getsockname()[1]}"
        reason = failure(
            daemon({**OPEN, "server": {"listen": [everywhere]}}, sockets=[passed], start=False)
        )
    assert reason.startswith(f"systemd listens on {names}, which is not in server.listen")
    assert everywhere in reason


def test_an_ipv4_client_of_a_passed_socket_for_both_families_is_one_of_ipv4(
    daemon: Daemons,
) -> None:
    with closing(listening(("::", 0))) as passed:  # as systemd opens it: for IPv4, too
        host = daemon({**OPEN, "server": {"listen": [named(passed)]}}, sockets=[passed])
        where = ("127.0.0.1", passed.getsockname()[1])
        dialed = socket.create_connection(where, DEADLINE)
        client = JavaScriptClient(host.url, b"content", sock=dialed)
        assert client.run().ending == "stored"
        line = host.wait_for("upload.stored", name=client.name)
        assert line["user"] == "127.0.0.1"
        assert line["peer"].startswith("127.0.0.1:")
        assert host.stop() == 0


@pytest.mark.parametrize("kind", ["datagram", "connected"])
def test_a_passed_socket_that_takes_no_connections_is_told(daemon: Daemons, kind: str) -> None:
    with ExitStack() as stack:
        if kind == "datagram":
            wrong = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            wrong.bind(("127.0.0.1", 0))
        else:
            wrong, other = socket.socketpair()
            stack.enter_context(wrong)
            stack.enter_context(other)
        reason = failure(daemon(sockets=[wrong], start=False))
    assert "systemd passed descriptor 3" in reason
    assert "ListenStream=" in reason


def test_a_passed_socket_of_a_family_that_server_listen_cannot_name_is_told(
    daemon: Daemons,
) -> None:
    try:
        wrong = socket.socket(socket.AF_VSOCK)
    except OSError:
        pytest.skip("needs a kernel with vsock")
    with closing(wrong):
        wrong.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        wrong.listen()
        reason = failure(daemon(sockets=[wrong], start=False))
    assert "systemd passed descriptor 3" in reason
    assert "address family 40" in reason


def test_wrong_numbers_in_the_environment_are_told(daemon: Daemons) -> None:
    host = daemon(environ={"WATCHDOG_USEC": "soon"}, start=False)
    assert failure(host).startswith("WATCHDOG_USEC: 'soon': expected")


def test_while_it_drains_a_passed_socket_keeps_who_comes_for_the_next_process(
    daemon: Daemons,
) -> None:
    with closing(listening()) as passed:
        settings = {"server": {"listen": [named(passed)]}}
        first = daemon(settings, sockets=[passed])
        with open_websocket(first.url) as upload:
            say(upload, name="kept.bin", size=3)
            expect_ready(upload)
            first.send_signal(signal.SIGTERM)
            first.wait_for("server.draining")
            waiting = first.dial()
            waiting.sendall(HEALTH)
            upload.send(b"abc")
            expect_ready(upload)
            say(upload, finished=True)
            assert hear(upload) == {"close": True}
        assert first.wait() == 0
        second = daemon(settings, sockets=[passed])
        assert ask(second, b"", sock=waiting).status == 200
        assert second.stop() == 0
    assert (first.directory / "kept.bin").read_bytes() == b"abc"


def test_the_manager_hears_of_readiness_uploads_and_the_end(
    daemon: Daemons, run_folder: Path
) -> None:
    heard: list[str] = []

    def hears(line: str) -> bool:
        try:
            while True:
                heard.extend(inbox.recv(4096, socket.MSG_DONTWAIT).decode().split("\n"))
        except BlockingIOError:
            return line in heard

    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as inbox:
        inbox.bind(str(run_folder / "notify"))
        environ = {"NOTIFY_SOCKET": str(run_folder / "notify"), "WATCHDOG_USEC": "300000"}
        host = daemon(environ=environ)
        poll("READY=1", lambda: hears("READY=1"))
        assert ask(host, HEALTH).status == 200
        poll("WATCHDOG=1", lambda: hears("WATCHDOG=1"))
        with open_websocket(host.url) as upload:
            say(upload, name="kept.bin", size=3)
            expect_ready(upload)
            poll("the status", lambda: hears("STATUS=1 upload running"))
            host.send_signal(signal.SIGTERM)
            poll("STOPPING=1", lambda: hears("STOPPING=1"))
            poll("a longer time-out", lambda: hears("EXTEND_TIMEOUT_USEC=30000000"))
            poll("the new status", lambda: hears("STATUS=Draining, 1 upload running"))
        assert host.wait() == 0
        assert hears("STATUS=Stopped")
    assert heard[:2] == ["READY=1", "STATUS=0 uploads running"]
    assert heard[-1] == "STATUS=Stopped"
