"""Measures galileod under attack and overload: the figures in docs/reliability.md.

    python bench/reliability.py [NAME ...]

`full_disk` must be run as root, since it mounts a small filesystem.
"""

import hashlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from reliability_client import GALILEOD, Client, daemon, header

SHM = "/dev/shm"  # noqa: S108
NO_ADDRESS_LIMIT = "server.max_connections_per_address = 5000"

STALLING = """
import os, sys, time
from galileod.cli.main import main
write, stall = os.write, os.environ["STALL_FILE"]
def stalling_write(fd, data):
    while os.path.exists(stall):
        time.sleep(0.05)
    return write(fd, data)
os.write = stalling_write
main()
"""
"""A galileod whose writes block while the file STALL_FILE exists, as on a disk that stalls."""


def memory(pid: int) -> int:
    """Resident memory of a process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def peak(pid: int, done: Callable[[], bool], seconds: float) -> int:
    """The peak memory in KiB until `done` returns true, or `seconds` have passed."""
    highest, deadline = memory(pid), time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        highest = max(highest, memory(pid))
        time.sleep(0.05)
    return max(highest, memory(pid))


def idle_connections(directory: str) -> str:
    """Memory of each of 2,000 idle WebSocket connections."""
    with daemon(directory, NO_ADDRESS_LIMIT, "timeouts.metadata = 600") as (address, pid, _):
        Client(address).close()
        before = memory(pid)
        clients = [Client(address) for _ in range(2000)]
        each = (memory(pid) - before) / len(clients)
        for client in clients:
            client.abandon()
    return f"{each:.1f} KiB each (target: at most 64)"


def before_metadata(directory: str) -> str:
    """Growth after 300 MB of data sent before the metadata, on 4 connections."""
    with daemon(directory) as (address, pid, _):
        Client(address).close()
        before, done = memory(pid), threading.Event()

        def send() -> None:
            data = os.urandom(1 << 20)
            for _ in range(4):
                client = Client(address)
                with suppress(OSError):
                    client.send(header(2, 300_000_000))
                    for _ in range(75):
                        client.send(data)
                client.abandon()
            done.set()

        threading.Thread(target=send).start()
        growth = peak(pid, done.is_set, 120) - before
    return f"{growth / 1024:.1f} MiB (target: at most 8)"


def stalled_disk(directory: str) -> str:
    """Growth when 200 clients at full speed send all that they are granted, and the disk stalls."""
    stall = Path(directory) / "stall"
    os.environ["STALL_FILE"] = str(stall)
    command = [sys.executable, "-c", STALLING]
    with daemon(directory, NO_ADDRESS_LIMIT, command=command) as (address, pid, _):
        Client(address).close()
        before = memory(pid)
        clients = [Client(address) for _ in range(200)]
        sent = [0]

        def feed(client: Client) -> None:
            with suppress(OSError, ValueError):
                client.text({"name": "stalled", "size": 1 << 30})
                while (signal := client.receive()).get("ready"):
                    client.chunk(int(signal["chunksize"]))
                    sent[0] += int(signal["chunksize"])

        for client in clients:
            threading.Thread(target=feed, args=(client,), daemon=True).start()
        wait_for(lambda: sent[0] > 4 << 30)
        stall.touch()
        sent[0] = 0
        growth = peak(pid, lambda: False, 15) - before
        granted = sent[0] >> 20
        stall.unlink()
        for client in clients:
            client.abandon()
        spool = Path(directory) / "store/.galileod/spool"
        wait_for(lambda: not any(spool.iterdir()))
    return f"{growth / 1024:.0f} MiB, {granted} MiB sent into the stall (target: at most 256 + 64)"


def tricklers(directory: str) -> str:
    """The rate of one normal upload beside 1,000 that send a byte twice a second."""
    size = 256 << 20
    source = Path(directory) / "source"
    source.write_bytes(os.urandom(1 << 20) * 256)
    sha1 = hashlib.sha1(source.read_bytes()).hexdigest()  # noqa: S324

    def normal(address: tuple[str, int]) -> float:
        began = time.perf_counter()
        client = Client(address)
        with source.open("rb") as file:
            client.upload("normal", file.fileno(), size, sha1)
        client.close()
        return size / 1e6 / (time.perf_counter() - began)

    with daemon(directory, NO_ADDRESS_LIMIT, 'storage.durability = "none"') as (address, _, __):
        alone = statistics.median(normal(address) for _ in range(3))
        slow, stop = [Client(address) for _ in range(1000)], threading.Event()
        for client in slow:
            client.text({"name": "slow", "size": 1 << 30})
        for client in slow:
            client.send(header(2, 60_000))

        def trickle() -> None:
            while not stop.is_set():
                for client in slow:
                    with suppress(OSError):
                        client.send(b"x")
                stop.wait(0.5)

        thread = threading.Thread(target=trickle)
        thread.start()
        beside = statistics.median(normal(address) for _ in range(3))
        stop.set()
        thread.join()
        for client in slow:
            client.abandon()
    return f"{beside / alone:.2f} of {alone:.0f} MB/s alone (target: at least 0.5)"


def quota_race(directory: str) -> str:
    """200 simultaneous uploads, for a quota that has room for 50."""
    source = Path(directory) / "source"
    source.write_bytes(os.urandom(100_000))
    sha1 = hashlib.sha1(source.read_bytes()).hexdigest()  # noqa: S324
    outcomes: list[str] = []

    def one(number: int) -> None:
        client = Client(address)
        barrier.wait()
        try:
            with source.open("rb") as file:
                client.upload(f"{number}", file.fileno(), 100_000, sha1)
            outcomes.append("stored")
        except RuntimeError as error:
            outcomes.append(error.args[0]["code"])
        client.abandon()

    barrier = threading.Barrier(200)
    with daemon(directory, NO_ADDRESS_LIMIT, "quota.total_bytes = 5_000_000") as (address, _, __):
        threads = [threading.Thread(target=one, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        there = sum(path.is_file() for path in (Path(directory) / "store").iterdir())
    refused = outcomes.count("quota_exceeded")
    return f"{there} stored, {refused} refused (target: exactly 50 and 150)"


def full_disk(directory: str) -> str:
    """A tmpfs of 64 MiB, filled by another program during an upload, and emptied again."""
    mount = Path(directory) / "mount"
    mount.mkdir()
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(mount)])
    try:
        with daemon(str(mount), "storage.min_free = 0") as (address, _, __):
            client = Client(address)
            client.text({"name": "first", "size": 32 << 20})
            filler = mount / "filler"
            with suppress(OSError), filler.open("wb") as file:
                for _ in range(64):
                    file.write(bytes(1 << 20))
            signal = client.receive()
            while signal.get("ready"):
                client.chunk(int(signal["chunksize"]))
                signal = client.receive()
            client.close()
            left = sum(1 for _ in (mount / "store/.galileod/spool").iterdir())
            filler.unlink()
            source = Path(directory) / "source"
            source.write_bytes(os.urandom(8 << 20))
            sha1 = hashlib.sha1(source.read_bytes()).hexdigest()  # noqa: S324
            again = Client(address)
            with source.open("rb") as file:
                again.upload("second", file.fileno(), 8 << 20, sha1)
            again.close()
    finally:
        subprocess.check_call(["umount", "-l", str(mount)])
    return f"{signal['code']}, {left} left in the spool; the next upload is stored"


def few_descriptors(directory: str) -> str:
    """1,000 connections to a daemon with `ulimit -n 256`, then an upload."""
    command: list[str | Path] = ["sh", "-c", 'ulimit -n 256; exec "$0" "$@"', *GALILEOD]
    with daemon(directory, NO_ADDRESS_LIMIT, "timeouts.handshake = 2", command=command) as (
        address,
        _,
        log,
    ):
        sockets = []
        for _ in range(1000):
            with suppress(OSError):
                sockets.append(socket.create_connection(address, timeout=2))
        for connection in sockets:
            connection.close()
        source = Path(directory) / "source"
        source.write_bytes(os.urandom(1000))
        sha1 = hashlib.sha1(source.read_bytes()).hexdigest()  # noqa: S324
        stored = wait_for(lambda: _stored(address, source, sha1))
        lines = len(log.read_text().splitlines())
    return f"{len(sockets)} connected; then an upload is {stored}; {lines} log lines"


def _stored(address: tuple[str, int], source: Path, sha1: str) -> str:
    try:
        client = Client(address)
        with source.open("rb") as file:
            client.upload("after", file.fileno(), source.stat().st_size, sha1)
        client.close()
    except (OSError, RuntimeError, ValueError):
        return ""
    return "stored"


def log_flood(directory: str) -> str:
    """Bytes of log for 10,000 requests with status 404, and for 10,000 refused uploads."""
    figures = []
    for upload in (False, True):
        with daemon(directory, NO_ADDRESS_LIMIT) as (address, _, log):
            before = log.stat().st_size
            with ThreadPoolExecutor(8) as pool:
                for _ in pool.map(_be_refused, [(address, upload)] * 10_000):
                    pass
        figures.append(f"{log.stat().st_size - before:,}")
    return " and ".join(figures)


def _be_refused(how: tuple[tuple[str, int], bool]) -> None:
    address, upload = how
    if upload:
        client = Client(address)
        client.text({"name": "..", "size": 1})
        client.receive()
        client.close()
        return
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: galileod\r\n\r\n")
        while connection.recv(4096):
            pass


def wait_for(condition: Callable[[], object], seconds: float = 30) -> object:
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return result


FIGURES = (
    idle_connections,
    before_metadata,
    stalled_disk,
    tricklers,
    quota_race,
    full_disk,
    few_descriptors,
    log_flood,
)


def main() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| case | result |\n|---|---|")
    for figure in FIGURES:
        if len(sys.argv) == 1 or figure.__name__ in sys.argv[1:]:
            with tempfile.TemporaryDirectory(dir=SHM) as directory:
                result = figure(directory)
            print(f"| `{figure.__name__}` {(figure.__doc__ or '').rstrip('.')} | {result} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
