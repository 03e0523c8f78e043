"""TLS end to end: what is stored over it, who is turned away, and certificates that change."""

import hashlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pytest
import trustme
from attrs import frozen
from helpers.certificates import Certificate, make_certificate
from helpers.clients import (
    HashClaim,
    ask,
    expect_ready,
    hear,
    open_websocket,
    read_all,
    read_head,
    request,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import DEADLINE, Daemon, Daemons, Settings, poll, run_galileod, write_config
from helpers.reloading import count, hang_up, reload
from helpers.sending import run_process
from websockets.sync.client import ClientConnection

CHUNK: Final = 64 * 1024
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@frozen
class Site:
    """A daemon that speaks TLS, with its certificate."""

    host: Daemon
    certificate: Certificate
    authority: trustme.CA

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.host.address[1]}/upload"

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.host.address[1]}"

    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def dial(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        context = context or self.trusting()
        return context.wrap_socket(self.host.dial(), server_hostname="localhost")

    def serial(self) -> int:
        """The serial number of the certificate that a new connection sees."""
        with self.dial() as sock:
            shown = sock.getpeercert()
            assert shown is not None
            return int(str(shown["serialNumber"]), 16)

    def websocket(self) -> AbstractContextManager[ClientConnection]:
        return open_websocket(self.url, ssl=self.trusting())


def store_nothing(websocket: ClientConnection) -> None:
    """Store an empty file."""
    say(websocket, name=unique_name(), size=0)
    expect_ready(websocket)
    say(websocket, finished=True)
    assert hear(websocket)["close"]


def tls(certificate: Certificate) -> Settings:
    return {"tls": {"certificate": str(certificate.chain), "key": str(certificate.key)}}


@pytest.fixture
def site(daemon: Daemons, tmp_path: Path) -> Callable[..., Site]:
    """Call it with settings beside those of TLS."""

    def start(settings: Settings | None = None) -> Site:
        authority = trustme.CA()
        certificate = make_certificate(tmp_path, authority)
        return Site(daemon({**(settings or {}), **tls(certificate)}), certificate, authority)

    return start


def test_galileo_send_stores_a_file(site: Callable[..., Site], tmp_path: Path) -> None:
    ours = site()
    path = tmp_path / "large.bin"
    path.write_bytes(some_bytes(20_000_000))
    ended = run_process("--ca", ours.certificate.authority, ours.url, path)
    assert (ended.returncode, ended.stderr) == (0, b"")
    stored = ours.host.wait_for("upload.stored", name=path.name)
    assert stored["hash_verified"]
    assert stored["sha1"] == hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert ours.host.visible()[path.name].read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("scheme", "port", "status"),
    [("https", True, 101), ("http", True, 403), ("https", False, 403), ("wss", True, 403)],
)
def test_the_page_over_https_is_our_own_and_no_other(
    site: Callable[..., Site], scheme: str, *, port: bool, status: int
) -> None:
    ours = site()
    number = ours.host.address[1]
    origin = f"{scheme}://localhost:{number}" if port else f"{scheme}://localhost"
    head = request(headers={"Host": f"localhost:{number}", "Origin": origin})
    assert ask(ours.host, head, sock=ours.dial()).status == status


def test_unix_sockets_do_without(daemon: Daemons, tmp_path: Path, run_folder: Path) -> None:
    path = run_folder / "galileod.sock"
    listen = {"server": {"listen": [f"unix:{path}", "127.0.0.1:0"]}}
    host = daemon({**listen, **tls(make_certificate(tmp_path))})
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(DEADLINE)
    sock.connect(str(path))
    assert ask(host, HEALTH, sock=sock).status == 200


def test_who_speaks_plain_http_is_told_so(site: Callable[..., Site]) -> None:
    ours = site()
    reply = ask(ours.host, HEALTH)
    assert (reply.status, reply.body) == (400, b"This port requires TLS: use https or wss.\n")
    told = ours.host.wait_for("connection.refused", status=400)
    assert told["reason"] == "This port requires TLS: use https or wss."
    with ours.dial() as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b'galileod_connections_refused_total{status="400"} 1.0' in read_all(sock)


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
def test_old_protocols_are_refused_and_the_log_says_why(site: Callable[..., Site]) -> None:
    ours = site()
    old = ours.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ours.dial(old)
    told = ours.host.wait_for("connection.refused", status=None)
    assert told["reason"] == "the TLS handshake failed: unsupported protocol"
    assert ours.serial()


def test_who_does_not_trust_the_certificate_leaves_and_does_no_harm(
    site: Callable[..., Site],
) -> None:
    ours = site()
    with pytest.raises(ssl.SSLCertVerificationError):
        ours.dial(ssl.create_default_context())
    ours.host.wait_for(
        "connection.refused", reason="the TLS handshake failed: tlsv1 alert unknown ca"
    )
    assert ours.serial()


def begin_nothing(ours: Site) -> socket.socket:
    return ours.host.dial()


def begin_handshake(ours: Site) -> socket.socket:
    sock = ours.host.dial()
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return sock


def begin_request(ours: Site) -> socket.socket:
    sock = ours.dial()
    sock.sendall(b"GET / HT")
    return sock


@pytest.mark.parametrize(
    ("begin", "status"), [(begin_nothing, None), (begin_handshake, None), (begin_request, 408)]
)
def test_whatever_is_slow_ends_within_the_handshakes_time(
    site: Callable[..., Site], begin: Callable[[Site], socket.socket], status: int | None
) -> None:
    ours = site({"timeouts": {"handshake": "300ms", "close": "300ms"}})
    with begin(ours) as sock:
        answer = read_all(sock)
    assert (b" 408 " in answer) == (status == 408)
    told = ours.host.wait_for("connection.refused", status=status)
    assert told["peer"].startswith("127.0.0.1:")


def test_many_who_never_shake_hands_are_capped_like_others(site: Callable[..., Site]) -> None:
    limits = {"max_connections_per_address": 3}
    ours = site({"server": limits, "timeouts": {"handshake": "1h"}})
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(ours.host.dial())
        with ours.dial() as sock:
            sock.sendall(HEALTH)
            assert read_head(sock).status == 503
    poll("room again", lambda: ask(ours.host, HEALTH, sock=ours.dial()).status == 200)


# Certificates that change.


def test_a_certificate_is_exchanged_while_uploads_run(site: Callable[..., Site]) -> None:
    ours = site({"chunks": {"min": CHUNK, "max": CHUNK, "max_in_flight": 1}})
    data, name = some_bytes(40 * CHUNK), unique_name()
    before = ours.serial()
    with ours.websocket() as websocket:
        say(websocket, name=name, size=len(data))
        serials = {before}
        for number in range(40):
            assert expect_ready(websocket) == CHUNK
            websocket.send(data[number * CHUNK : (number + 1) * CHUNK])
            if number % 10 == 5:
                # The same paths with other files: nothing in the configuration has changed.
                make_certificate(ours.certificate.chain.parent, ours.authority)
                assert hang_up(ours.host, "config.reloaded")["changed"] == []
                serials.add(ours.serial())
        expect_ready(websocket)
        sha1 = HashClaim.of(data, "sha1").value
        say(websocket, finished=True, hash={"type": "sha1", "value": sha1})
        assert hear(websocket)["close"]
    assert len(serials) == 5
    assert ours.host.visible()[name].read_bytes() == data
    assert not ours.host.find("upload.failed")


def test_handshakes_go_on_while_certificates_are_exchanged(site: Callable[..., Site]) -> None:
    ours = site()
    stop, seen, failures = threading.Event(), set[int](), list[BaseException]()

    def knock() -> None:
        try:
            while not stop.is_set():
                seen.add(ours.serial())
        except BaseException as error:  # noqa: BLE001  the test fails by it
            failures.append(error)

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            make_certificate(ours.certificate.chain.parent, ours.authority)
            hang_up(ours.host, "config.reloaded")
            with ours.websocket() as websocket:
                store_nothing(websocket)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(seen) > 1


def spoil_key(certificate: Certificate) -> str:
    other = certificate.key.parent / "other"
    other.mkdir()
    certificate.key.write_bytes(make_certificate(other).key.read_bytes())
    return f"tls.key: {certificate.key}: is not the key of {certificate.chain}"


def lose_key(certificate: Certificate) -> str:
    certificate.key.unlink()
    return f"tls.key: {certificate.key}: cannot be read: No such file or directory"


def lose_chain(certificate: Certificate) -> str:
    certificate.chain.unlink()
    return f"tls.certificate: {certificate.chain}: cannot be read: No such file or directory"


def empty_chain(certificate: Certificate) -> str:
    certificate.chain.write_bytes(b"")
    return f"tls.certificate: {certificate.chain}: expected a chain of certificates in PEM"


SPOILED: Final = [spoil_key, lose_key, lose_chain, empty_chain]


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_files_of_no_use_are_a_wrong_configuration(
    tmp_path: Path, command: str, spoil: Callable[[Certificate], str]
) -> None:
    certificate = make_certificate(tmp_path)
    settings = {"storage": {"directory": str(tmp_path / "files")}, **tls(certificate)}
    config = write_config(tmp_path / "galileod.toml", settings)
    ended = run_galileod("check-config", "--config", config)
    assert ended.returncode == 0
    told = spoil(certificate)
    ended = run_galileod(command, "--config", config)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"galileod: {config}: {told}")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("spoil", SPOILED)
def test_files_of_no_use_are_rejected_by_a_reload_and_the_old_ones_stay(
    site: Callable[..., Site], spoil: Callable[[Certificate], str]
) -> None:
    ours = site()
    before = ours.serial()
    told = spoil(ours.certificate)
    rejected = hang_up(ours.host, "config.rejected")
    assert str(rejected["reason"]).startswith(f"{ours.host.config}: {told}")
    assert ours.serial() == before
    make_certificate(ours.certificate.chain.parent, ours.authority)
    hang_up(ours.host, "config.reloaded")
    assert ours.serial() != before


def test_a_reload_turns_tls_on(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon()
    certificate = make_certificate(tmp_path)
    with open_websocket(host.url) as plain:
        told = reload(host, tls(certificate))
        assert told["changed"] == ["tls.certificate", "tls.key"]
        url = host.url.replace("ws://", "wss://")
        with open_websocket(url, ssl=certificate.trusting) as over_tls:
            store_nothing(over_tls)
        assert ask(host, HEALTH).status == 400
        store_nothing(plain)


def test_a_stop_tells_who_comes_over_tls_to_come_later(site: Callable[..., Site]) -> None:
    ours = site({"server": {"drain_timeout": "1h"}})
    with ours.websocket() as websocket:
        say(websocket, name="a", size=10)
        expect_ready(websocket)
        silent = ours.dial()
        poll("both to be there", lambda: count(ours.host, "connection.opened") == 1)
        ours.host.send_signal(signal.SIGTERM)
        ours.host.wait_for("server.draining")
        assert ask(ours.host, HEALTH, sock=silent).status == 503
        assert ask(ours.host, HEALTH, sock=ours.dial()).status == 503
        websocket.send(bytes(10))
        expect_ready(websocket)
        say(websocket, finished=True)
        assert hear(websocket)["close"]
    assert ours.host.wait() == 0
