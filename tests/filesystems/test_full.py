"""A disk that fills up while an upload runs, and has room again later."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filesystems.hosts import MakeHost, check_ledger, send, stored
from filesystems.kinds import Mounted
from filesystems.mounting import run
from helpers.clients import hear, open_websocket, say, some_bytes
from helpers.daemon import Daemon, poll

CONTENT: Final = some_bytes(5_000_000)
BLOCK: Final = memoryview(bytes(1 << 20))
LEAST: Final = 4096
"""The disk is full if there is no room for so many bytes."""


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No room on the disk for the block."""
    path = disk / "filler"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        step = len(BLOCK)
        while step >= LEAST:
            try:
                os.write(fd, BLOCK[:step])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2
        yield
    finally:
        os.close(fd)
        path.unlink()
        run("sync", "--file-system", disk)  # btrfs frees the space when it is written out


def check_full(host: Daemon, disk: Path) -> None:
    """Fill the disk of the daemon's files while it receives one, and empty it again."""
    before = stored(host, "before", CONTENT)
    folder = before.parent
    with open_websocket(host.url) as websocket:
        say(websocket, name="during", size=len(CONTENT))
        signal = hear(websocket)
        with full(disk):
            sent = 0
            while "code" not in signal:
                assert not signal.get("close"), signal
                chunk = CONTENT[sent : sent + signal.get("chunksize", 0)]
                sent += len(chunk)
                if chunk:
                    websocket.send(chunk)
                else:
                    say(websocket, finished=True)
                signal = hear(websocket)
            assert signal["code"] in ("no_space", "storage_failed"), signal
            refused = send(host, "refused", CONTENT)
            assert refused.code == "no_space", refused
            assert "chunk" not in {kind for kind, _ in refused.trace}
            assert visible(folder) == ["before"]
    assert poll("an empty spool", lambda: not host.spooled())
    poll("room", lambda: send(host, "after", CONTENT).ending == "stored", host.text)
    assert visible(folder) == ["after", "before"]
    assert (folder / "after").read_bytes() == CONTENT
    check_ledger(host)
    assert host.stop() == 0
    host.stderr.unlink()  # the storage's errors were expected
    host.start()
    check_ledger(host)
    stored(host, "restarted", b"restarted")
    assert host.stop() == 0


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name not in (".galileod", "filler"))


def test_a_full_disk_fails_the_upload_and_nothing_else(
    make_host: MakeHost, mounted: Mounted
) -> None:
    check_full(make_host().start(), mounted.disk)
