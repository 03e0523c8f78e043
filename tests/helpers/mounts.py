"""Filesystems mounted for a test; tests that need one are skipped without root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """`mount ARGUMENTS folder` for the block; creates the folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *arguments, folder], check=True)
    try:
        yield folder
    finally:
        unmount(folder)


@contextmanager
def tmpfs(folder: Path, options: str = "size=64m") -> Iterator[Path]:
    with mounted(folder, "-t", "tmpfs", "-o", options, "none"):
        yield folder


def unmount(folder: Path) -> None:
    """Detach what is mounted on the folder, even if files are open; nothing if the test did."""
    # `Path.is_mount` does not see a mount of the same filesystem.
    mounts = Path("/proc/self/mounts").read_text()
    if f" {os.path.realpath(folder)} " in mounts:
        subprocess.run(["umount", "-l", folder], check=True)
