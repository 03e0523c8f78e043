"""A large file over a line that breaks, to a daemon that is killed, by clients that are killed."""

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from helpers.cutting import CuttingProxy
from helpers.daemon import Daemon, Daemons, environment, poll
from helpers.rounds import report, rounds

MIB: Final = 1 << 20
SIZE: Final = rounds(48 * MIB, 3 << 30)
LEAST: Final = rounds(6_000_000, 200_000_000)
MOST: Final = rounds(12_000_000, 400_000_000)
KILLS: Final = rounds(2, 8)
SECONDS: Final = rounds(100, 600)

IN_FLIGHT: Final = 4
CHUNK: Final = rounds(256 * 1024, 8 * MIB)
WINDOW: Final = 2 * IN_FLIGHT * CHUNK + 4 * MIB
"""Bytes that a kill may cost: what was granted, and what is in the buffers of the sockets."""

GALILEO_SEND: Final = Path(sys.executable).with_name("galileo-send")
LIBRARY: Final = """
import sys
from galileod.client import send_file_sync
receipt = send_file_sync(sys.argv[1], sys.argv[2], timeout=30)
assert receipt.size > 0
"""

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose parts differ."""
    path = tmp_path_factory.mktemp("cuts") / "large.bin"
    block = bytearray(random.Random(1).randbytes(MIB))
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            block[:8] = number.to_bytes(8)
            file.write(block)
    return path


@pytest.fixture(scope="module")
def sha1(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha1").hexdigest()


@pytest.fixture
def host(daemon: Daemons) -> Iterator[Daemon]:
    host = daemon({"chunks": {"max": CHUNK, "max_in_flight": IN_FLIGHT}, "timeouts": {"close": 1}})
    yield host
    for path in host.visible().values():
        path.unlink()


def send_with_command(url: str, path: Path, folder: Path) -> "subprocess.Popen[bytes]":
    return start([GALILEO_SEND, "-q", "--retry-delay", "0.1", url, path], folder)


def send_with_library(url: str, path: Path, folder: Path) -> "subprocess.Popen[bytes]":
    return start([sys.executable, "-c", LIBRARY, url, path], folder)


def start(command: list[str | Path], folder: Path) -> "subprocess.Popen[bytes]":
    environ = environment({"XDG_STATE_HOME": str(folder / "state")})
    return subprocess.Popen(command, env=environ)


Send = Callable[[str, Path, Path], "subprocess.Popen[bytes]"]
both = pytest.mark.parametrize("send", [send_with_command, send_with_library])


def assert_stored(host: Daemon, file: Path, sha1: str) -> None:
    assert list(host.visible()) == [file.name]
    with (host.directory / file.name).open("rb") as stored:
        assert hashlib.file_digest(stored, "sha1").hexdigest() == sha1
    assert not host.spooled()


def wait_for(proxy: CuttingProxy, carried: int) -> None:
    poll("progress", lambda: proxy.carried > carried)


@both
def test_a_line_that_breaks_costs_next_to_nothing(
    host: Daemon, file: Path, sha1: str, send: Send, tmp_path: Path
) -> None:
    with CuttingProxy(host, LEAST, MOST) as proxy:
        assert send(proxy.url, file, tmp_path).wait(SECONDS) == 0
        report(f"{proxy.carried / SIZE:.4f} times the bytes of the file, {proxy.cuts} cuts")
        assert proxy.cuts >= SIZE // MOST - 1
        assert proxy.carried <= 1.02 * SIZE
    assert_stored(host, file, sha1)


@both
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_costs_at_most_what_was_on_its_way(
    host: Daemon, file: Path, sha1: str, send: Send, how: signal.Signals, tmp_path: Path
) -> None:
    with CuttingProxy(host, LEAST, MOST) as proxy:
        client = send(proxy.url, file, tmp_path)
        for number in range(1, KILLS + 1):
            wait_for(proxy, number * SIZE // (KILLS + 2))
            host.send_signal(how)
            host.wait() if how == signal.SIGTERM else host.kill()
            host.start()
        assert client.wait(SECONDS) == 0
        report(f"{proxy.carried / SIZE:.4f} times the bytes of the file, {proxy.cuts} cuts")
        assert proxy.carried <= 1.02 * SIZE + KILLS * WINDOW
    assert_stored(host, file, sha1)


@both
def test_a_client_that_is_killed_and_started_again_goes_on(
    host: Daemon, file: Path, sha1: str, send: Send, tmp_path: Path
) -> None:
    with CuttingProxy(host, LEAST, MOST) as proxy:
        client = send(proxy.url, file, tmp_path)
        for number in range(1, KILLS + 1):
            wait_for(proxy, number * SIZE // (KILLS + 2))
            client.kill()
            client.wait()
            client = send(proxy.url, file, tmp_path)
        assert client.wait(SECONDS) == 0
        report(f"{proxy.carried / SIZE:.4f} times the bytes of the file, {proxy.cuts} cuts")
        assert proxy.carried <= 1.02 * SIZE + KILLS * WINDOW
    assert_stored(host, file, sha1)
