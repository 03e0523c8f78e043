"""HAProxy in front: it passes bytes on, and tells the client's address by the PROXY protocol.

With the documented configuration, before two daemons, TLS ends there or at them.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from helpers.certificates import Certificate
from helpers.clients import ask, open_websocket, read_all, some_bytes, unique_name
from helpers.daemon import DEADLINE, Daemons, poll
from helpers.haproxy import (
    CERTIFICATE,
    DOCUMENTED,
    checks_over_tls,
    complaints,
    documented,
    running_haproxy,
    stated,
    tls_up_to_the_nodes,
)
from helpers.ports import reserve
from helpers.replacing import replaced
from helpers.sending import run_process
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

NOWHERE = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"

CONFIG = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel {tunnel}
frontend uploads
    bind 127.0.0.1:{port}
    default_backend galileod
backend galileod
    server galileod {upstream} {options}
"""


OpenHaproxy = Callable[..., int]


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[OpenHaproxy]:
    """Call it with where galileod is, and how to speak to it, for the port of one before it."""
    with ExitStack() as stack:

        def start(upstream: str, options: str = "send-proxy-v2", *, tunnel: str = "1h") -> int:
            port: int = stack.enter_context(reserve()).getsockname()[1]
            text = CONFIG.format(port=port, upstream=upstream, options=options, tunnel=tunnel)
            stack.enter_context(running_haproxy(text, tmp_path, port))
            return port

        yield start


MARKED = "127.0.0.1:0 proxy_protocol"


def marked(*others: str, proxy: str = "127.0.0.1") -> dict[str, object]:
    return {"listen": [MARKED, *others], "trusted_proxies": [proxy]}


def from_elsewhere(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE, ("127.0.0.2", 0))


@pytest.mark.parametrize(
    "options", ["send-proxy-v2", "send-proxy-v2-ssl-cn", "check send-proxy-v2"]
)
def test_a_file_is_stored_over_tls_that_passes_through(
    daemon: Daemons,
    haproxy: OpenHaproxy,
    certificate: Certificate,
    tmp_path: Path,
    options: str,
) -> None:
    tls = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    host = daemon({"server": marked(), "tls": tls})
    port = haproxy(host.listen[0].removesuffix(" proxy_protocol"), options)
    path = tmp_path / "large.bin"
    path.write_bytes(some_bytes(20_000_000))
    ended = run_process("--ca", certificate.authority, f"wss://localhost:{port}/upload", path)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert host.visible()[path.name].read_bytes() == path.read_bytes()


def test_the_client_is_the_one_that_haproxy_sees(
    daemon: Daemons, haproxy: OpenHaproxy, run_folder: Path
) -> None:
    path = run_folder / "galileod.sock"
    host = daemon({"server": marked(f"unix:{path} proxy_protocol")})
    for upstream in (host.listen[0].removesuffix(" proxy_protocol"), f"unix@{path}"):
        sock = from_elsewhere(haproxy(upstream))
        name = "{}:{}".format(*sock.getsockname())
        assert ask(host, NOWHERE, sock=sock).status == 404
        assert host.wait_for("connection.refused", status=404, peer=name)


@pytest.mark.parametrize(
    ("options", "proxy", "reason"),
    [
        ("send-proxy", "127.0.0.1", "a PROXY protocol header (version 2) was expected"),
        ("", "127.0.0.1", "a PROXY protocol header (version 2) was expected"),
        ("send-proxy-v2", "192.0.2.1", "the peer is not in server.trusted_proxies"),
    ],
)
def test_a_haproxy_that_is_set_up_wrongly_is_told_in_the_log(
    daemon: Daemons, haproxy: OpenHaproxy, options: str, proxy: str, reason: str
) -> None:
    host = daemon({"server": marked(proxy=proxy)})
    port = haproxy(host.listen[0].removesuffix(" proxy_protocol"), options)
    with from_elsewhere(port) as sock:
        sock.sendall(NOWHERE)
        assert read_all(sock) == b""
    assert host.wait_for("connection.refused", reason=reason)["status"] is None


@pytest.mark.parametrize("passes_on", [False, True], ids=["tls ends there", "tls up to the nodes"])
def test_the_page_and_a_file_come_through_haproxy_as_it_is_documented(
    daemon: Daemons, certificate: Certificate, tmp_path: Path, passes_on: bool
) -> None:
    tls = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    host = daemon({"server": marked(), "tls": tls if passes_on else {}})
    with reserve() as reserved, TemporaryDirectory() as short:
        port, statistics = reserved.getsockname()[1], Path(short) / "haproxy"
        node_port = int(host.listen[0].removesuffix(" proxy_protocol").rpartition(":")[2])
        text = documented(port, {"node1": node_port}, statistics, both_in_one(certificate))
        text = tls_up_to_the_nodes(text, checks_over_tls()[0]) if passes_on else text
        with running_haproxy(text, tmp_path, port):

            def checked() -> bool:
                there = statistics.exists()  # a moment after HAProxy listens
                return there and stated(statistics, "galileod", "node1", "check_code") == "200"

            poll("a check that succeeds", checked, host.text)
            with websocket_from_page(port, certificate, f"https://localhost:{port}"):
                pass
            for origin in (f"http://localhost:{port}", "https://localhost", "https://evil.example"):
                with (
                    pytest.raises(InvalidStatus) as refused,
                    websocket_from_page(port, certificate, origin),
                ):
                    pass
                assert refused.value.response.status_code == 403, origin
            path = tmp_path / unique_name()
            path.write_bytes(some_bytes(2_000_000))
            url = f"wss://localhost:{port}/upload"
            ended = run_process("--ca", certificate.authority, url, path)
            assert (ended.returncode, ended.stderr) == (0, b"")
    assert host.visible()[path.name].read_bytes() == path.read_bytes()


@pytest.mark.parametrize("passes_on", [False, True])
def test_haproxy_accepts_the_documented_file_as_a_whole(
    certificate: Certificate, tmp_path: Path, passes_on: bool
) -> None:
    text = DOCUMENTED.read_text()
    if passes_on:
        text = tls_up_to_the_nodes(text, checks_over_tls()[0])
    else:
        named = CERTIFICATE.split()[-1]
        text = replaced(text, {named: str(both_in_one(certificate))})
    assert complaints(text, tmp_path) == ""


def both_in_one(certificate: Certificate) -> Path:
    """The certificate and its key in one file, as HAProxy wants them."""
    path = certificate.chain.with_name("both.pem")
    path.write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
    return path


def websocket_from_page(
    port: int, certificate: Certificate, origin: str
) -> AbstractContextManager[ClientConnection]:
    """A connection as that of a page of this origin."""
    url, headers = f"wss://localhost:{port}/upload", {"Origin": origin}
    return open_websocket(
        url, sock=from_elsewhere(port), ssl=certificate.trusting, additional_headers=headers
    )
