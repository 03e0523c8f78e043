"""Files to upload from a page, and whether they arrived."""

import filecmp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from helpers.daemon import Daemon

MIB: Final = 1024 * 1024

Write = Callable[..., Path]
"""Writes a file of so many bytes; see the fixture `write`."""


def check_stored(host: Daemon, paths: Sequence[Path]) -> None:
    for path in paths:
        assert filecmp.cmp(path, host.directory / path.name, shallow=False), path.name
        assert host.wait_for("upload.stored", name=path.name)["hash_verified"]
