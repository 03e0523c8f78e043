"""HAProxy in front: it passes bytes on, and tells the client's address by the PROXY protocol."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.certificates import Certificate
from helpers.clients import ask, read_all, some_bytes
from helpers.daemon import DEADLINE, Daemons
from helpers.haproxy import running_haproxy
from helpers.ports import reserve
from helpers.sending import run_process

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
