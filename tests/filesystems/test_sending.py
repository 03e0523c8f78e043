"""A file on a mounted filesystem that is sent while its modification time settles."""

import os
from pathlib import Path
from typing import Final

import pytest
from filesystems.kinds import KINDS, Mounted
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemons, poll

from galileod.client import Progress, send_file

MIB: Final = 1024 * 1024
BELOW: Final = [kind for kind in KINDS if kind.name in ("bindfs", "mergerfs")]
"""Filesystems below which a file can be touched; they show its time somewhat later."""


@pytest.mark.parametrize("mounted", BELOW, indirect=True, ids=lambda kind: kind.name)
async def test_a_file_whose_time_settles_while_it_is_sent_is_stored(
    mounted: Mounted, daemon: Daemons
) -> None:
    host, data = daemon(), some_bytes(8 * MIB)
    path = mounted.root / unique_name()
    path.write_bytes(data)
    (below,) = mounted.disk.rglob(path.name)
    changed = False

    def settle(progress: Progress) -> None:
        nonlocal changed
        if progress.sent > MIB and not changed:
            os.utime(below, ns=(0, 0))
            changed = poll("the time", lambda: is_settled(path))

    await send_file(host.url, path, on_progress=settle)
    assert changed
    assert (host.directory / path.name).read_bytes() == data


def is_settled(path: Path) -> bool:
    """Whether the file has the time that was set below."""
    return path.stat().st_mtime == 0
