"""Filesystems that a test mounts; only root can."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tmpfs(place: Path, size: str = "16m") -> Iterator[Path]:
    """Mount an empty filesystem on the directory `place` for the block; skip where that fails."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield place
    finally:
        unmount(place)


def unmount(place: Path) -> None:
    """Detach what is mounted on `place`, open files or not. Nothing happens if nothing is."""
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)
