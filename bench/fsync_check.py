"""Shows with strace that galileod syncs each file and its name before it sends `close`.

    python bench/fsync_check.py [--files N] [--disk FOLDER] [--only classic|next]...

The files have 10 kB. "classic" sends each on a connection of its own, 16 at once; "next" sends them
on two connections. The status is 1 if a file was confirmed before it was durable.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import install_servers
from clients import galileosend
from connection import Connection, Exchange, Part
from fsync_trace import CALLS, Upload, violations
from next_client import prepare, send_files
from peers import find
from servers import Command, Peer, Setup, Start
from small_files import AT_ONCE, FILE_SIZE, run_all
from source_file import source
from stored import Void

CONNECTIONS = 2
SECONDS = 30
"""Time limit in seconds for strace to end behind galileod."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check that files are durable before they are confirmed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--files", type=int, default=48, help="the number of files")
    add("--disk", type=Path, default=install_servers.HOME.parent, help="a directory on a disk")
    add("--only", action="append", choices=("classic", "next"), help="how they are sent")
    return parser.parse_args()


def traced(peer: Peer, trace: Path) -> Peer:
    """The peer below strace, which writes the trace."""

    def command(setup: Setup) -> Command:
        # -D: the process is the server, and strace ends behind it.
        strace = ["strace", "-D", "-f", "--seccomp-bpf", "-yy", "-s", "65536"]
        calls = f"trace={','.join(CALLS)}"
        return [*strace, "-e", calls, "-o", trace, *peer.command(setup)]

    return replace(peer, command=command)


def ended(trace: Path, pid: int) -> str:
    """Wait until strace has noted the end of the process; return the trace."""
    deadline = time.monotonic() + SECONDS
    end = re.compile(rf"^{pid} +\+\+\+ ", re.MULTILINE)  # short numbers are padded
    while not end.search(text := trace.read_text()):
        if time.monotonic() > deadline:
            raise RuntimeError("strace did not end")
        time.sleep(0.05)
    return text


def check(way: str, folder: Path, parts: Sequence[Part]) -> list[str]:
    """Send the files; return a sentence for each that was confirmed before it was durable."""
    (peer,) = find(["galileod"], None, may_install=False)
    trace = folder / "trace"
    names: dict[Upload, str] = {}

    def naming(start: Start, own: Sequence[Part]) -> Start:
        def noted(connection: Connection) -> Exchange:
            port = connection.socket.getsockname()[1]
            names.update({(port, number): part.name for number, part in enumerate(own)})
            return start(connection)

        return noted

    if way == "classic":
        at_once, shares = AT_ONCE, [parts[n : n + 1] for n in range(len(parts))]
        starts: list[Start] = [partial(galileosend, part=part) for part in parts]
    else:
        at_once, shares = CONNECTIONS, [parts[first::CONNECTIONS] for first in range(CONNECTIONS)]
        starts = [partial(send_files, files=list(map(prepare, share))) for share in shares]
    with traced(peer, trace).started(folder / "server", "full") as server:
        run_all(server, parts, map(naming, starts, shares), at_once)
    return violations(ended(trace, server.pid), str(server.store), names)


def main() -> None:
    options = arguments()
    found = []
    for way in options.only or ("classic", "next"):
        with (
            tempfile.TemporaryDirectory(prefix=".galileod-bench-", dir=options.disk) as folder,
            source(options.disk, options.files * FILE_SIZE) as data,
        ):
            parts = data.parts(options.files, FILE_SIZE)
            try:
                sentences = check(way, Path(folder).resolve(), parts)
            except (OSError, RuntimeError, Void) as error:
                sys.exit(f"{way}: {error}")
        durable = options.files - len(sentences)
        print(f"{way}: {durable} of {options.files} files were durable before their `close`")
        print(*sentences, sep="\n", end="\n" if sentences else "")
        found += sentences
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
