"""Megabytes a second into a galileod of its own: one stream and eight, on tmpfs and on disk.

    python bench/throughput.py [--size MIB] [--runs N] [--disk DIR] [--tmpfs DIR]

The client costs next to nothing: frames are masked with the key 0, which is a legal one, so that
their payload can go from a file to the socket with sendfile. The server cannot tell and unmasks
all the same. Each upload is checked by the sha1 that the daemon logs for what landed.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 250_000
GALILEOD = Path(sys.executable).with_name("galileod")


class Client:
    """A GalileoSend client on a blocking socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(
            b"GET /upload HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        while self._file.readline() != b"\r\n":
            pass

    def upload(self, name: str, source: int, size: int, sha1: str) -> None:
        """Send `size` bytes of the descriptor `source`. Raises RuntimeError for all but close."""
        self._text({"name": name, "size": size})
        offset = 0
        while True:
            signal = self._receive()
            if signal.get("close"):
                return
            if not signal.get("ready"):
                raise RuntimeError(signal)
            if offset == size:
                self._text({"finished": True, "hash": {"type": "sha1", "value": sha1}})
                continue
            length = min(int(signal.get("chunksize") or CHUNK), size - offset)
            self._socket.sendall(_header(2, length))
            end = offset + length
            while offset < end:
                offset += os.sendfile(self._socket.fileno(), source, offset, end - offset)

    def close(self) -> None:
        """Close the WebSocket."""
        self._socket.sendall(_header(8, 2) + struct.pack("!H", 1000))
        self._file.read()
        self._file.close()
        self._socket.close()

    def _text(self, signal: dict[str, object]) -> None:
        text = json.dumps(signal).encode()
        self._socket.sendall(_header(1, len(text)) + text)

    def _receive(self) -> dict[str, Any]:
        _, length = self._file.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._file.read(2))
        signal = json.loads(self._file.read(length))
        if not isinstance(signal, dict):
            raise TypeError(signal)
        return signal


def _header(opcode: int, length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return struct.pack("!BBH4x", 0x80 | opcode, 0xFE, length)
    return struct.pack("!BBQ4x", 0x80 | opcode, 0xFF, length)


@contextmanager
def daemon(directory: str, durability: str) -> Iterator[tuple[tuple[str, int], int, Path]]:
    """A galileod on a free port: its address, process id and log."""
    log = Path(directory) / "log"
    config = Path(directory) / "galileod.toml"
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\n[limits]\nmax_file_size = "1TiB"\n'
        f'[storage]\ndirectory = "{directory}/store"\ndurability = "{durability}"\n'
        f'on_conflict = "replace"\n[log]\nformat = "json"\n'
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen([GALILEOD, "--config", config], stderr=stderr)
    try:
        while not log.read_text().endswith("\n"):
            time.sleep(0.01)
        host, _, port = json.loads(log.read_text().splitlines()[0])["listen"][0].rpartition(":")
        yield (host, int(port)), process.pid, log
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(directory: str, durability: str, streams: int, source: Path, runs: int) -> None:
    """Print one row: the median of `runs`, after one that does not count."""
    part = source.stat().st_size // streams
    with source.open("rb") as file:
        sha1s = [hashlib.sha1(file.read(part)).hexdigest() for _ in range(streams)]  # noqa: S324
    with daemon(directory, durability) as (address, pid, log):
        rates, cpus = [], []
        for _ in range(runs + 1):
            before, began = cpu_seconds(pid), time.perf_counter()
            send(address, source, part, sha1s)
            rates.append(part * streams / 1e6 / (time.perf_counter() - began))
            cpus.append((cpu_seconds(pid) - before) * (1 << 30) / (part * streams))
        events = [json.loads(line) for line in log.read_text().splitlines()]
    stored = [event["sha1"] for event in events if event["event"] == "upload.stored"]
    assert sorted(stored) == sorted(sha1s * (runs + 1)), "what landed is not what was sent"
    filesystem = subprocess.check_output(["stat", "-fc", "%T", directory], text=True).strip()
    print(
        f"| {streams} | {filesystem} | {durability} | {statistics.median(rates[1:]):.0f} MB/s "
        f"({min(rates[1:]):.0f} to {max(rates[1:]):.0f}) | {statistics.median(cpus[1:]):.2f} s |",
        flush=True,
    )


def send(address: tuple[str, int], source: Path, part: int, sha1s: list[str]) -> None:
    """Send a part of the file for each sha1, all at once."""
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            # sendfile takes offsets from 0, so each stream has its part as a file of its own.
            path = source if len(sha1s) == 1 else Path(f"{source}.{number}")
            client = Client(address)
            with path.open("rb") as file:
                client.upload(f"{number}.bin", file.fileno(), part, sha1s[number])
            client.close()
        except BaseException as error:  # noqa: BLE001  a thread's failure is the run's
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(sha1s))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Megabytes a second into galileod.")
    parser.add_argument("--size", type=int, default=1024, help="MiB in all (1024)")
    parser.add_argument("--runs", type=int, default=5, help="runs that count (5)")
    parser.add_argument("--tmpfs", default="/dev/shm", help="a directory in memory")  # noqa: S108
    parser.add_argument("--disk", default=".", help="a directory on disk")
    options = parser.parse_args()
    print("| streams | on | durability | rate, median (min to max) | daemon's CPU per GiB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.tmpfs) as fast:
        source = Path(fast) / "source"
        with source.open("wb") as file:
            for _ in range(options.size):
                file.write(os.urandom(1 << 20))
        part = (options.size << 20) // 8
        with source.open("rb") as file:
            for number in range(8):
                Path(f"{source}.{number}").write_bytes(file.read(part))
        for where, durability in ((options.tmpfs, "none"), (options.disk, "full")):
            for streams in (1, 8):
                with tempfile.TemporaryDirectory(dir=where) as directory:
                    measure(directory, durability, streams, source, options.runs)


if __name__ == "__main__":
    main()
