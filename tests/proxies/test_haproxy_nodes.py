"""The documented configuration of HAProxy, before a galileod where TLS ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import frozen
from helpers.certificates import Certificate, make_certificate
from helpers.clients import some_bytes
from helpers.daemon import Daemon, Daemons, poll
from helpers.haproxy import (
    checks_over_tls,
    documented,
    running_haproxy,
    stated,
    tls_up_to_the_nodes,
)
from helpers.ports import reserve
from helpers.sending import run_process


@frozen
class Balancer:
    """HAProxy at `port`; its `statistics` are at a unix socket."""

    port: int
    statistics: Path

    def state(self) -> tuple[str, str]:
        """Of its only server: UP or DOWN, and what the last check has found."""
        status, check, text = (
            stated(self.statistics, "galileod", "node1", column)
            for column in ("status", "check_status", "last_chk")
        )
        return status, f"{check} {text}"

    def wait_for(self, status: str, check: str) -> None:
        def is_there() -> bool:
            found = self.state()
            return found[0] == status and check in found[1]

        poll(f"{status} by {check}", is_there, lambda: str(self.state()))


Balance = Callable[..., Balancer]


@pytest.fixture
def balance(tmp_path: Path) -> Iterator[Balance]:
    """Call it with a node, and what is appended for the checks."""
    with ExitStack() as stack:

        def start(host: Daemon, appended: str) -> Balancer:
            port: int = stack.enter_context(reserve()).getsockname()[1]
            statistics = Path(stack.enter_context(TemporaryDirectory())) / "haproxy"
            at = int(host.listen[0].removesuffix(" proxy_protocol").rpartition(":")[2])
            text = tls_up_to_the_nodes(documented(port, {"node1": at}, statistics), appended)
            stack.enter_context(running_haproxy(text, tmp_path, port))
            # Unix sockets get their names once all are open.
            poll("statistics", statistics.exists, (tmp_path / "haproxy.log").read_text)
            return Balancer(port, statistics)

        yield start


@pytest.fixture
def host(daemon: Daemons, certificate: Certificate) -> Daemon:
    return daemon(
        {
            "server": {
                "listen": ["127.0.0.1:0 proxy_protocol"],
                "trusted_proxies": ["127.0.0.1"],
            },
            "tls": {"certificate": str(certificate.chain), "key": str(certificate.key)},
        }
    )


def send(balancer: Balancer, certificate: Certificate, path: Path) -> int:
    url = f"wss://localhost:{balancer.port}/upload"
    return run_process("--retries", "0", "--ca", certificate.authority, url, path).returncode


def test_checks_without_tls_leave_a_node_out_that_has_it(
    host: Daemon, balance: Balance, certificate: Certificate, tmp_path: Path
) -> None:
    balancer = balance(host, "")
    balancer.wait_for("DOWN", "L7STS")
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    assert send(balancer, certificate, path) == 1


@pytest.mark.parametrize("which", [0, 1])
def test_checks_as_documented_find_whether_a_node_with_tls_is_well(
    host: Daemon, balance: Balance, certificate: Certificate, tmp_path: Path, which: int
) -> None:
    assert len(checks_over_tls()) == 2
    text = checks_over_tls()[which].replace("/etc/haproxy/ca.pem", str(certificate.authority))
    balancer = balance(host, text.replace("uploads.example.org", "localhost"))
    balancer.wait_for("UP", "L7OK")
    path = tmp_path / "a.bin"
    path.write_bytes(some_bytes(3_000_000))
    assert send(balancer, certificate, path) == 0
    assert host.visible()["a.bin"].read_bytes() == path.read_bytes()
    assert host.stop() == 0
    balancer.wait_for("DOWN", "L4CON")


def test_a_certificate_of_another_authority_leaves_a_node_out(
    host: Daemon, balance: Balance, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    balancer = balance(host, f"check-ssl verify required ca-file {other.authority}")
    balancer.wait_for("DOWN", "L6RSP")
