"""Behind proxies: whose word is believed, what it says, and what nobody may claim of himself."""

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from helpers.certificates import make_certificate
from helpers.clients import Reply, ask, read_all, read_head, request
from helpers.daemon import DEADLINE, Daemon, Daemons, run_galileod, write_config
from helpers.reloading import reload

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
TRUSTED: Final = {"trusted_proxies": ["127.0.0.1"]}
MARKED: Final = {"listen": ["127.0.0.1:0 proxy_protocol"], **TRUSTED}


def announcing(host: str, port: int = 5000) -> bytes:
    addresses = socket.inet_aton(host) + socket.inet_aton("127.0.0.1")
    return SIGNATURE + b"\x21\x11\x00\x0c" + addresses + struct.pack("!HH", port, 443)


def announcing_v6(host: str, port: int = 5000) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, host) + socket.inet_pton(socket.AF_INET6, "::1")
    return SIGNATURE + b"\x21\x21\x00\x24" + addresses + struct.pack("!HH", port, 443)


def address_of(host: Daemon) -> tuple[str, int]:
    name = host.listen[0].removesuffix(" proxy_protocol")
    address, _, port = name.rpartition(":")
    return address.strip("[]"), int(port)


def dial(host: Daemon, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(address_of(host), DEADLINE, (source, 0))


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (announcing("192.0.2.7"), "192.0.2.7:5000"),
        (announcing_v6("2001:db8::7"), "[2001:db8::7]:5000"),
        (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
    ],
)
def test_a_proxy_announces_its_client(daemon: Daemons, header: bytes, peer: str) -> None:
    host = daemon({"server": MARKED})
    assert host.listen[0].endswith(" proxy_protocol")
    assert ask(host, header + request(), sock=dial(host)).status == 101
    assert host.wait_for("connection.opened")["peer"] == peer


@pytest.mark.parametrize(
    ("source", "sent", "reason"),
    [
        ("127.0.0.2", announcing("192.0.2.7") + HEALTH, "the peer is not in server.trusted"),
        ("127.0.0.1", HEALTH, "a PROXY protocol header (version 2) was expected"),
        ("127.0.0.1", b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" + HEALTH, "(version 2)"),
        ("127.0.0.1", announcing("192.0.2.7")[:20], "was not complete in time"),
    ],
)
def test_what_does_not_begin_with_a_header_of_a_trusted_proxys_is_closed(
    daemon: Daemons, source: str, sent: bytes, reason: str
) -> None:
    host = daemon({"server": MARKED, "timeouts": {"handshake": "300ms"}})
    with dial(host, source) as sock:
        sock.sendall(sent)
        assert read_all(sock) == b""
    told = host.wait_for("connection.refused")
    assert reason in told["reason"]
    assert told["status"] is None
    assert told["peer"].startswith(f"{source}:")


def test_a_header_where_none_is_expected_is_no_request(daemon: Daemons) -> None:
    host = daemon({"server": TRUSTED})
    assert ask(host, announcing("192.0.2.7") + HEALTH).status == 400


def test_the_header_comes_before_tls(daemon: Daemons, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    tls = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    host = daemon({"server": MARKED, "tls": tls})
    sock = dial(host)
    sock.sendall(announcing("192.0.2.7"))
    over = certificate.trusting.wrap_socket(sock, server_hostname="localhost")
    assert ask(host, request(), sock=over).status == 101
    assert host.wait_for("connection.opened")["peer"] == "192.0.2.7:5000"


def test_whoever_may_connect_to_a_marked_unix_socket_is_believed(
    daemon: Daemons, run_folder: Path
) -> None:
    path = run_folder / "galileod.sock"
    host = daemon({"server": {"listen": [f"unix:{path} proxy_protocol"]}})
    assert host.listen == [f"unix:{path} proxy_protocol"]
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(DEADLINE)
    sock.connect(str(path))
    assert ask(host, announcing("192.0.2.7") + request(), sock=sock).status == 101
    assert host.wait_for("connection.opened")["peer"] == "192.0.2.7:5000"
    assert host.stop() == 0
    assert not path.exists()


def test_a_socket_of_systemds_has_the_mark_of_its_address(daemon: Daemons) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        name = f"127.0.0.1:{passed.getsockname()[1]} proxy_protocol"
        host = daemon({"server": {"listen": [name], **TRUSTED}}, sockets=[passed])
        assert host.listen == [name]
        assert ask(host, announcing("192.0.2.7") + request(), sock=dial(host)).status == 101
    assert host.wait_for("connection.opened")["peer"] == "192.0.2.7:5000"


def test_the_mark_is_printed_and_may_be_a_flags(daemon: Daemons, tmp_path: Path) -> None:
    config = write_config(tmp_path / "galileod.toml", {"server": MARKED})
    printed = run_galileod("check-config", "--config", config)
    assert '"127.0.0.1:0 proxy_protocol"' in printed.stdout
    host = daemon(flags=["--listen", "127.0.0.1:0 proxy_protocol"])
    assert host.listen[0].endswith(" proxy_protocol")


# Headers of requests.


def status(host: Daemon, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(host, request(headers={**named})).status


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({"X_Forwarded_For": "203.0.113.9, 192.0.2.7"}, "192.0.2.7"),
        ({"Forwarded": 'for=203.0.113.9, for="192.0.2.7:4711";proto=https'}, "192.0.2.7"),
        ({"Forwarded": 'for="[2001:db8::7]:4711"'}, "2001:db8::7"),
        ({"Forwarded": "for=192.0.2.7", "X_Forwarded_For": "192.0.2.7"}, "192.0.2.7"),
        ({"Forwarded": "for=unknown"}, "127.0.0.1"),
        ({"X_Forwarded_For": "nonsense"}, "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_the_client(
    daemon: Daemons, headers: dict[str, str], peer: str
) -> None:
    host = daemon({"server": TRUSTED})
    assert status(host, **headers) == 101
    assert host.wait_for("connection.opened")["peer"] == peer
    stranger = daemon({"server": {"trusted_proxies": ["192.0.2.0/24"]}})
    assert status(stranger, **headers) == 101
    assert stranger.wait_for("connection.opened")["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (
            {"Forwarded": "for=192.0.2.8", "X_Forwarded_For": "192.0.2.7"},
            b"Forwarded and X-Forwarded headers do not name the same client.\n",
        ),
        (
            {"Forwarded": 'for="192.0.2.8'},
            b"The Forwarded header has an unterminated quoted string.\n",
        ),
    ],
)
def test_headers_that_cannot_be_believed_are_a_bad_request(
    daemon: Daemons, headers: dict[str, str], text: bytes
) -> None:
    host = daemon({"server": TRUSTED})
    named: dict[str, str | None] = {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    reply = ask(host, request(headers=named))
    assert (reply.status, reply.body) == (400, text)
    assert host.wait_for("connection.refused", status=400)["reason"] == text.decode().strip()
    untrusting = daemon()
    assert ask(untrusting, request(headers=named)).status == 101


@pytest.mark.parametrize("junk", ["nonsense", "", "192.0.2.7:4711", "unknown"])
def test_clients_that_no_header_names_are_capped_as_the_proxy(daemon: Daemons, junk: str) -> None:
    host = daemon({"server": {**TRUSTED, "max_connections_per_address": 1}})
    head = request(headers={"X-Forwarded-For": junk})
    with host.dial() as one, host.dial() as other:
        one.sendall(head)
        assert read_head(one).status == 101
        other.sendall(head)
        assert read_head(other).status == 503


OURS: Final = "uploads.example"
ORIGINS: Final = ["https://uploads.example", "http://uploads.example", "https://evil.example"]


def over(proto: str | None, host: str | None) -> dict[str, str]:
    told = {"X-Forwarded-Proto": proto, "X-Forwarded-Host": host}
    return {name: value for name, value in told.items() if value is not None}


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"Host": OURS}, "http://uploads.example"),
        ({"Host": OURS, **over("https", None)}, "https://uploads.example"),
        ({"Host": OURS, **over("wss", None)}, "https://uploads.example"),
        ({"Host": "127.0.0.1:8750", **over("https", OURS)}, "https://uploads.example"),
        ({"Host": "127.0.0.1:8750", **over("https", None)}, None),
        ({"Host": "127.0.0.1", **over(None, OURS)}, "http://uploads.example"),
        ({"Host": "127.0.0.1", "Forwarded": f"for=1.2.3.4;proto=https;host={OURS}"}, ORIGINS[0]),
        ({"Host": OURS, **over("https", f"{OURS}:8443")}, None),
        ({"Host": OURS, **over("gopher", None)}, None),
    ],
)
def test_our_own_origin_is_what_a_trusted_proxy_says(
    daemon: Daemons, headers: dict[str, str], own: str | None, *, trusted: bool
) -> None:
    host = daemon({"server": TRUSTED if trusted else {}})
    if not trusted:
        own = ORIGINS[1] if headers["Host"] == OURS else None
    asked: Callable[[str], Reply] = lambda origin: ask(  # noqa: E731
        host, request(headers={**headers, "Origin": origin})
    )
    statuses = {origin: asked(origin).status for origin in ORIGINS}
    assert statuses == {origin: 101 if origin == own else 403 for origin in ORIGINS}


@pytest.mark.parametrize("trusted", [True, False])
def test_the_port_that_a_trusted_proxy_names_is_our_own(daemon: Daemons, *, trusted: bool) -> None:
    host = daemon({"server": TRUSTED if trusted else {}})
    headers = {"Host": OURS, **over("https", None), "X-Forwarded-Port": "8443"}
    for port, status in ((8443, 101 if trusted else 403), (8444, 403)):
        page = {**headers, "Origin": f"https://{OURS}:{port}"}
        assert ask(host, request(headers={**page})).status == status


@pytest.mark.parametrize(
    ("headers", "allowed", "told"),
    [
        ({}, [], 'set server.allowed_origins = ["https://app.example"].'),
        ({}, ["http://a"], 'add "https://app.example" to server.allowed_origins.'),
        ({"X-Forwarded-Port": "443"}, [], "not in server.trusted_proxies"),
        ({"X-Forwarded-For": "192.0.2.7"}, [], "not in server.trusted_proxies"),
    ],
)
def test_a_refused_page_and_the_log_say_what_to_configure(
    daemon: Daemons, headers: dict[str, str], allowed: list[str], told: str
) -> None:
    host = daemon({"server": {"allowed_origins": allowed}})
    reply = ask(host, request(headers={**headers, "Origin": "https://app.example"}))
    assert reply.status == 403
    assert told in reply.body.decode()
    reason = host.wait_for("connection.refused", status=403)["reason"]
    assert reason == reply.body.decode().strip()


def test_a_trusted_proxy_is_not_advised(daemon: Daemons) -> None:
    host = daemon({"server": TRUSTED})
    headers = {"X-Forwarded-For": "192.0.2.7", "Origin": "https://app.example"}
    assert b"trusted_proxies" not in ask(host, request(headers={**headers})).body


def test_on_a_unix_socket_no_proxy_can_be_trusted(daemon: Daemons, run_folder: Path) -> None:
    path = run_folder / "galileod.sock"
    host = daemon({"server": {"listen": [f"unix:{path}"]}})
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(DEADLINE)
    sock.connect(str(path))
    headers = {"X-Forwarded-For": "192.0.2.7", "Origin": "https://app.example"}
    body = ask(host, request(headers={**headers}), sock=sock).body
    assert b'server.allowed_origins = ["https://app.example"]' in body
    assert b"trusted_proxies" not in body


def test_trust_is_taken_over_by_a_reload(daemon: Daemons) -> None:
    host = daemon()
    page = {"Origin": "https://test", "X_Forwarded_Proto": "https"}
    assert status(host, **page) == 403
    reload(host, {"server": TRUSTED})
    assert status(host, **page) == 101
