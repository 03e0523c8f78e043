"""Compares galileod with other servers, and prints tables; `make bench` runs it.

    python bench/run.py [--only BENCHMARK]... [--peers NAME,NAME] [--galileod PATH] [--quick] ...

The servers are measured in turn, so that other load on the machine affects all of them. Each ratio
is computed from the same run of both servers. A figure is the median of the runs, with the minimum
and maximum in parentheses. After each run the stored files are compared with those that were sent;
a server that stores anything else is VOID.
"""

import argparse
import importlib.metadata
import os
import platform
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import install_servers
from buckets import EngineError
from concurrent_uploads import many
from measure import GIB, Settings
from next_elsewhere import next_far, next_on_disk
from next_files import next_on_tmpfs
from nodes import nodes_small, reservations
from object_storage import s3, s3_many, s3_small
from peers import NAMES, find
from resuming import resume
from send_command import send
from servers import OTHER
from single_uploads import disk, far, one
from small_files import small
from tls_uploads import tls

from galileod import __version__

BENCHMARKS = {
    "one": one,
    "tls": tls,
    "many": many,
    "far": far,
    "disk": disk,
    "small": small,
    "next": next_on_tmpfs,
    "next-disk": next_on_disk,
    "next-far": next_far,
    "send": send,
    "resume": resume,
    "s3": s3,
    "s3-small": s3_small,
    "s3-many": s3_many,
    "reservations": reservations,
    "nodes-small": nodes_small,
}
QUICK = 4 << 20
"""Bytes that replace 1 GiB with --quick."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare galileod with other servers.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--only",
        action="append",
        choices=BENCHMARKS,
        help="a benchmark to run; repeatable",
    )
    add("--peers", default=",".join(NAMES), help="the servers to measure")
    add("--galileod", type=Path, help="another build to measure, too: program or source directory")
    add("--size", type=int, default=1024, help="MiB of one upload; other sizes scale with it")
    add("--runs", type=int, default=5, help="measured runs, after one warm-up run")
    add("--tmpfs", type=Path, default=Path("/dev/shm"), help="a directory on tmpfs")  # noqa: S108
    add("--disk", type=Path, default=install_servers.HOME.parent, help="a directory on a disk")
    add("--quick", action="store_true", help="test the benchmarks: one run with little data")
    add("--no-install", action="store_true", help="skip servers that are not installed")
    options = parser.parse_args()
    options.peers = options.peers.split(",")
    if unknown := set(options.peers) - set(NAMES):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    return options


def main() -> None:
    options = arguments()
    # SIGTERM ends the started processes, too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.quick:
        settings = Settings(QUICK, 1, options.tmpfs, options.disk, quick=True)
    else:
        settings = Settings(options.size << 20, options.runs, options.tmpfs, options.disk)
    settings = replace(settings, may_install=not options.no_install)
    peers = find(options.peers, options.galileod, may_install=settings.may_install)
    print(header(options.peers, settings))
    if options.galileod:
        print(f"\n{OTHER}: {options.galileod}")
    for name in options.only or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"\n## `{name}`\n\n{(benchmark.__doc__ or '').splitlines()[0]}\n", flush=True)
        try:
            print(benchmark(settings, peers), flush=True)
        except EngineError as error:
            print(f"not available: {error}", flush=True)


def header(names: Sequence[str], settings: Settings) -> str:
    """The description of the machine, the versions and the settings."""
    versions = {
        "galileod": __version__,
        **{name: importlib.metadata.version(name) for name in ("trio", "websockets")},
    }
    ours = ", ".join(f"{name} {version}" for name, version in versions.items())
    pinned = {
        "tus": (*install_servers.TUS, *install_servers.tus_s3_packages()),
        "copyparty": install_servers.COPYPARTY,
    }
    theirs = dict.fromkeys(package for name in names for package in pinned.get(name, ()))
    small = "" if settings.size == GIB else "; the targets apply to 1024 MiB"
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{', '.join([ours, *theirs])}.\n\nMedian of {settings.runs} (minimum to maximum); "
        f"{settings.size >> 20} MiB{small}."
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
