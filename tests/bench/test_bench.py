"""The benchmarks run: each gives its table, and a wrong file is not taken for a right one.

What they measure is not looked at here.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.chromium import MISSING, find_browser
from helpers.engines.ceph import Ceph
from helpers.missing import leave_out

BENCH = Path(__file__).resolve().parents[2] / "bench"
DEADLINE = 60.0

FORGER = """
import os, runpy, sys, tomllib
with open(sys.argv[2], "rb") as file:
    config = tomllib.load(file)
write = os.write
os.write = lambda target, data: write(target, bytes(len(data)))
port = config["server"]["listen"][0].rpartition(":")[2]
sys.argv[1:] = [config["storage"]["directory"], port]
runpy.run_path({limit!r}, run_name="__main__")
"""
"""A galileod, by its command line, that says `close` to everything and stores nothing but zeros."""


def command(folder: Path, *arguments: str | Path) -> list[str | Path]:
    run: list[str | Path] = [sys.executable, BENCH / "run.py", "--quick", "--no-install"]
    return [*run, "--tmpfs", folder, "--disk", folder, *arguments]


def rows(output: str) -> dict[str, list[str]]:
    """The rows of all tables, by their first cell."""
    tables = [line.split(" | ") for line in output.splitlines() if line.startswith("| ")]
    return {cells[0].removeprefix("| "): cells[1:] for cells in tables}


def table(folder: Path, *arguments: str | Path) -> dict[str, list[str]]:
    done = subprocess.run(
        command(folder, *arguments), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("*galileod-bench-*")), "something was left behind"
    return rows(done.stdout)


@pytest.mark.parametrize(
    ("benchmark", "expected"),
    [
        ("one", {"galileod", "limit", "naive", "nginx", "tus", "copyparty"}),
        ("many", {"1, galileod", "8, galileod", "64, galileod", "512, galileod"}),
        ("far", {"galileod, 400 Mbit/s, 50 ms", "galileod, 20 Mbit/s, 300 ms"}),
        ("disk", {"dd conv=fsync", "galileod"}),
        ("resume", {"resumable, tmpfs", "resumable, disk", "a cut line", "a start, 20 GiB kept"}),
        ("small", {"galileod", "naive", "galileod, durable on disk"}),
        ("next", {"galileod, next, 1 connection", "galileod, next, 4 connections"}),
        ("next-disk", {"galileod, next, 1 connection", "galileod, next, 4 connections"}),
        ("next-far", {"galileod, next, 1 connection"}),
        ("send", {"galileo-send", "galileo-send --hash none", "8 files of 10 kB"}),
        ("tls", {"galileod", "galileod, TLS", "nginx"}),
    ],
)
def test_every_benchmark_gives_its_table(
    benchmark: str, expected: set[str], tmp_path: Path
) -> None:
    found = table(tmp_path, "--only", benchmark)
    assert expected <= found.keys()
    assert not [name for name, cells in found.items() if cells[0].startswith("VOID")]


def test_the_benchmarks_of_object_storage_give_their_tables(tmp_path: Path) -> None:
    Ceph.require()
    names = ("s3", "s3-small", "s3-many")
    found = table(tmp_path, *(argument for name in names for argument in ("--only", name)))
    large = {"galileod, local", "@tus/server with s3-store", "boto3's upload_fileobj"}
    small = {f"galileod, next, {number}" for number in ("1 connection", "8 connections")}
    assert large | small | {"galileod"} <= found.keys()
    assert found["botocore's PutObject in 16 threads"]
    assert not [name for name, cells in found.items() if cells[0].startswith("VOID")]


def test_the_benchmarks_of_the_browser_give_their_tables(tmp_path: Path) -> None:
    if find_browser() is None:
        leave_out(MISSING)
    run: list[str | Path] = [sys.executable, BENCH / "browser.py", "--quick", "--tmpfs", tmp_path]
    done = subprocess.run(run, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert {"galileo.js with sha1, galileod", "the upload page, galileod"} <= found.keys()
    assert not [name for name, cells in found.items() if cells[0].startswith("VOID")]


def forger(folder: Path) -> Path:
    """See FORGER."""
    path = folder / "forger"
    path.write_text(
        f"#!{sys.executable}\n" + FORGER.format(limit=str(BENCH / "minimal_receiver.py"))
    )
    path.chmod(0o755)
    return path


def test_a_server_that_stores_something_else_is_void(tmp_path: Path) -> None:
    forged = ("--galileod", forger(tmp_path))
    found = table(tmp_path, "--only", "one", "--peers", "galileod,limit", *forged)
    assert found["other galileod"][0].startswith("VOID: the stored files differ")
    assert found["limit"][0] == "1.00"


def test_a_server_that_stores_something_else_in_a_bucket_is_void(tmp_path: Path) -> None:
    Ceph.require()
    found = table(tmp_path, "--only", "s3-many", "--galileod", forger(tmp_path))
    assert found["other galileod"][0].startswith("VOID: the stored objects differ")
    assert not found["galileod"][0].startswith("VOID")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_command(ending: signal.Signals, tmp_path: Path) -> None:
    def ours() -> list[str]:
        running = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                running.append(path.read_text())
            except OSError:
                pass  # it ended meanwhile
        return [line for line in running if str(tmp_path) in line and "run.py" not in line]

    bench = subprocess.Popen(
        command(tmp_path, "--only", "far"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with bench:
        assert bench.stderr is not None
        bench.stderr.readline()  # the first run is over
        wait_for(ours)
        bench.send_signal(ending)
        assert bench.wait(DEADLINE) == 128 + ending
    assert not ours()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it is sent, and ends when the other side does."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test is over
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(("mbits", "round_trip"), [(2000, 2), (50, 20)])
def test_the_long_line_loses_and_changes_nothing(echo: int, mbits: int, round_trip: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = subprocess.Popen(
        [sys.executable, BENCH / "delay_proxy.py", *map(str, (port, echo, mbits, round_trip))]
    )
    try:
        wait_for(lambda: reaches(port))
        sent, back = os.urandom(3_000_001), bytearray()
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:

            def send() -> None:
                for start in range(0, len(sent), 100_003):
                    connection.sendall(sent[start : start + 100_003])
                connection.shutdown(socket.SHUT_WR)

            thread = threading.Thread(target=send)
            thread.start()
            while data := connection.recv(65536):
                back += data
            thread.join()
        assert bytes(back) == sent
    finally:
        line.kill()
        line.wait()


def reaches(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
