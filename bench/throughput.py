"""Megabytes a second into a galileod of its own: one stream and eight, on tmpfs and on disk.

    python bench/throughput.py [--size MIB] [--runs N] [--disk DIR] [--tmpfs DIR]

Each upload is checked by the sha1 that the daemon logs for what landed. Beside it, in turn, stands
what no receiver can pass on this machine that hashes and writes in one thread: the same data,
hashed and written out of memory, with nothing received.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from operator import truediv
from pathlib import Path

from peer import Client, cpu_seconds, daemon


def measure(directory: str, durability: str, streams: int, source: Path, runs: int) -> None:
    """Print one row: the median of `runs`, after one that does not count."""
    part = source.stat().st_size // streams
    with source.open("rb") as file:
        sha1s = [hashlib.sha1(file.read(part)).hexdigest() for _ in range(streams)]  # noqa: S324
    settings = (
        f'storage.durability = "{durability}"',
        'storage.on_conflict = "replace"',
        'limits.max_file_size = "1TiB"',
    )
    with daemon(directory, *settings) as (address, pid, log):
        rates, cpus, ceilings = [], [], []
        for _ in range(runs + 1):
            ceilings.append(hash_and_write(source, directory, fsync=durability == "full"))
            before, began = cpu_seconds(pid), time.perf_counter()
            send(address, source, part, sha1s)
            rates.append(part * streams / 1e6 / (time.perf_counter() - began))
            cpus.append((cpu_seconds(pid) - before) * (1 << 30) / (part * streams))
        events = [json.loads(line) for line in log.read_text().splitlines()]
    stored = [event["sha1"] for event in events if event["event"] == "upload.stored"]
    assert sorted(stored) == sorted(sha1s * (runs + 1)), "what landed is not what was sent"
    filesystem = subprocess.check_output(["stat", "-fc", "%T", directory], text=True).strip()
    of_ceiling = statistics.median(map(truediv, rates[1:], ceilings[1:]))
    print(
        f"| {streams} | {filesystem} | {durability} | {statistics.median(rates[1:]):.0f} MB/s "
        f"({min(rates[1:]):.0f} to {max(rates[1:]):.0f}) "
        f"| {statistics.median(ceilings[1:]):.0f} MB/s | {of_ceiling:.2f} "
        f"| {statistics.median(cpus[1:]):.2f} s |",
        flush=True,
    )


def hash_and_write(source: Path, directory: str, *, fsync: bool) -> float:
    """Megabytes a second of sha1 and write in one thread, chunk by chunk as the daemon has them."""
    sha1, target = hashlib.sha1(), Path(directory) / "alone"  # noqa: S324
    with source.open("rb") as file, target.open("wb", 0) as out:
        data = file.read(1 << 20)
        began = time.perf_counter()
        for _ in range(source.stat().st_size >> 20):
            sha1.update(data)
            out.write(data)
        if fsync:
            os.fsync(out.fileno())
        seconds = time.perf_counter() - began
    target.unlink()
    return source.stat().st_size / 1e6 / seconds


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
    print(
        "| streams | on | durability | rate, median (min to max) | hash and write alone | ratio "
        "| daemon's CPU per GiB |\n|---|---|---|---|---|---|---|"
    )
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
