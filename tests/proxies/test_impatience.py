"""Proxies that close silent connections soon, and a galileod that takes its time."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from helpers.certificates import Certificate
from helpers.clients import expect_ready, hear, open_websocket, say, unique_name
from helpers.daemon import DEADLINE, Daemon, Settings
from helpers.pausing import wait_until
from helpers.replacing import replaced
from helpers.sending import GALILEO_SEND
from helpers.stalling import StallingDisk
from proxies.conftest import TRUSTED
from proxies.fronts import Nginx, require
from proxies.test_haproxy import OpenHaproxy, haproxy

__all__ = ["haproxy"]

PATIENCE: Final = 3
"""Seconds until the proxies close a silent connection."""

STALL: Final = 4 * PATIENCE

SETTINGS: Settings = {
    **TRUSTED,
    "timeouts": {"ping": "500ms"},
    # One credit at a time: a client that has used it waits.
    "chunks": {"min": "8MiB", "max": "8MiB", "max_in_flight": 1},
}


class ImpatientNginx(Nginx):
    """The site with other time limits."""

    def configure(self, upstream: str) -> Path:
        config = super().configure(upstream)
        site = self.folder / "site.conf"
        limits = {
            f"proxy_{kind}_timeout 2m;": f"proxy_{kind}_timeout {PATIENCE}s;"
            for kind in ("read", "send")
        }
        site.write_text(replaced(site.read_text(), limits))
        return config


Through = Callable[[Daemon], tuple[str, Path | None]]
"""A daemon's URL through a proxy, and the authority of the proxy's certificate."""


@pytest.fixture(params=["nginx", "haproxy"])
def through(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> Iterator[Through]:
    with ExitStack() as stack:

        def nginx(host: Daemon) -> tuple[str, Path | None]:
            require(ImpatientNginx)
            upstream = "{}:{}".format(*host.address)
            front = ImpatientNginx(tmp_path / "nginx", certificate, upstream)
            return stack.enter_context(front).url, certificate.authority

        def balanced(host: Daemon) -> tuple[str, Path | None]:
            start: OpenHaproxy = request.getfixturevalue("haproxy")
            port = start("{}:{}".format(*host.address), "", tunnel=f"{PATIENCE}s")
            return f"ws://127.0.0.1:{port}/upload", None

        yield {"nginx": nginx, "haproxy": balanced}[request.param]


@pytest.fixture
def disk(tmp_path: Path) -> StallingDisk:
    return StallingDisk(tmp_path / "stalls")


@pytest.fixture
def host(tmp_path: Path, disk: StallingDisk) -> Iterator[Daemon]:
    with Daemon(
        tmp_path / "daemon", SETTINGS, program=disk.program, environ=disk.environ
    ) as started:
        yield started.start()


def test_a_client_behind_a_proxy_hears_that_its_file_is_stored_however_long_that_takes(
    host: Daemon, disk: StallingDisk, through: Through, certificate: Certificate
) -> None:
    url, authority = through(host)
    with open_websocket(url, ssl=certificate.trusting if authority else None) as websocket:
        say(websocket, name=unique_name(), size=7)
        expect_ready(websocket)
        websocket.send(b"content")
        expect_ready(websocket)
        with disk.stalled("fsync"):
            say(websocket, finished=True)
            wait_until(time.monotonic() + STALL)
        assert hear(websocket)["close"]


def test_galileo_send_waits_for_as_long_as_pings_come(
    host: Daemon, disk: StallingDisk, through: Through, tmp_path: Path
) -> None:
    url, authority = through(host)
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    trust = ["--ca", str(authority)] if authority else []
    # Without the Pings it would wait for its own timeout.
    command = [str(GALILEO_SEND), "--timeout", str(PATIENCE), *trust, url, str(path)]
    with disk.stalled("fsync"):
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        host.wait_for("upload.started")
        wait_until(time.monotonic() + STALL)
    _, errors = client.communicate(timeout=DEADLINE)
    assert (client.returncode, errors) == (0, b"")


def test_a_stall_of_the_disk_within_the_data_is_outlived(
    host: Daemon, disk: StallingDisk, through: Through, certificate: Certificate
) -> None:
    url, authority = through(host)
    size = 30_000_000
    with open_websocket(url, ssl=certificate.trusting if authority else None) as websocket:
        say(websocket, name=unique_name(), size=size)
        with disk.stalled("writev"):
            granted = expect_ready(websocket)
            websocket.send(bytes(granted))
            wait_until(time.monotonic() + STALL)
        sent = granted
        while granted := expect_ready(websocket):
            websocket.send(bytes(granted))
            sent += granted
        assert sent == size
        say(websocket, finished=True)
        assert hear(websocket)["close"]
