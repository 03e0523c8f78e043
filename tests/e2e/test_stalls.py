"""A disk that stalls for longer than clients wait for an answer to their Pings."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.clients import HashClaim, arrived, hear, open_websocket, say, some_bytes, unique_name
from helpers.daemon import DEADLINE, Daemon
from helpers.pausing import wait_until
from helpers.stalling import StallingDisk

SIZE = 4_000_000

STALL = 8


@pytest.fixture
def disk(tmp_path: Path) -> StallingDisk:
    return StallingDisk(tmp_path / "stalls")


@pytest.fixture
def host(tmp_path: Path, disk: StallingDisk) -> Iterator[Daemon]:
    folder = tmp_path / "daemon"
    with Daemon(folder, program=disk.program, environ=disk.environ) as started:
        yield started.start()


def upload(url: str, name: str, data: bytes) -> None:
    """Upload with a client that sends a Ping each second, and waits two for the answer."""
    sent = 0
    with open_websocket(url, ping_interval=1, ping_timeout=2) as websocket:
        say(websocket, name=name, size=len(data))
        while sent < len(data):
            for signal in arrived(websocket):
                assert signal["ready"], signal
                chunk = data[sent : sent + signal["chunksize"]]
                websocket.send(chunk)
                sent += len(chunk)
        while hear(websocket).get("chunksize"):
            pass
        claim = HashClaim.of(data, "sha1")
        say(websocket, finished=True, hash={"type": claim.type, "value": claim.value})
        assert hear(websocket)["close"]


@pytest.mark.parametrize("call", ["writev", "fsync"])
def test_a_client_that_checks_the_connection_stays_in_a_stall_of_the_disk(
    host: Daemon, disk: StallingDisk, call: str
) -> None:
    data, name = some_bytes(SIZE), unique_name()
    with ThreadPoolExecutor() as threads:
        with disk.stalled(call):
            uploading = threads.submit(upload, host.url, name, data)
            host.wait_for("upload.started")
            wait_until(time.monotonic() + STALL)
        uploading.result(DEADLINE)
    assert host.visible()[name].read_bytes() == data
