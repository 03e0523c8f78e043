"""Mounting filesystems for tests, and unmounting them whatever became of the test."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from helpers.daemon import DEADLINE, poll
from helpers.missing import SEARCHED

MIB: Final = 1 << 20


def run(program: str, *arguments: str | Path) -> None:
    """Run a program, which must succeed."""
    result = _run(program, *arguments)
    assert result.returncode == 0, f"{program} {arguments}: {result.stdout}"


def _run(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PATH": SEARCHED, "LC_ALL": "C.UTF-8"},
        check=False,
    )


class Mounts(ExitStack):
    """Filesystems, mounted on directories in `folder`; leaving unmounts them, the newest first."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def directory(self) -> Path:
        """A new directory."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def image(self, size: int, *mkfs: str) -> Path:
        """A sparse file, in memory, with a filesystem that the command `mkfs` makes in it."""
        # An fsync of a real disk takes long, and other tests wait for the same disk.
        folder = self.directory()
        run("mount", "-t", "tmpfs", "-o", f"size={size + MIB}", "tmpfs", folder)
        # A container that a neighbour runs has a copy of each mount for as long as it sets itself
        # up, and the program behind a FUSE mount has the image open until the last copy is gone.
        self.callback(run, "umount", "--lazy", folder)
        path = folder / "image"
        with path.open("wb") as file:
            file.truncate(size)
        run(*mkfs, path)
        return path

    def mount(self, kind: str, source: str | Path, *options: str) -> Path:
        """Mount with mount(8), and give the directory."""
        settings = ("-o", ",".join(options)) if options else ()
        return self.run(lambda path: ("mount", "-t", kind, *settings, source, path))

    def run(
        self, command: Callable[[Path], tuple[str | Path, ...]], target: Path | None = None
    ) -> Path:
        """Run a command that mounts on `target`, or on a new directory, and give the directory."""
        path = target or self.directory()
        program, *arguments = command(path)
        run(str(program), *arguments)
        self.callback(unmount, path)
        return path


def users_of(path: Path) -> list[str]:
    """The processes that have something open below a path, and what."""
    users = []
    for link in (*Path("/proc").glob("[0-9]*/fd/*"), *Path("/proc").glob("[0-9]*/cwd")):
        try:
            target = os.readlink(link)
        except OSError:
            continue  # it has ended meanwhile
        if target.startswith(str(path)):
            users.append(f"{link}: {target}")
    return users


def unmount(path: Path) -> None:
    """Unmount once nobody uses it any more; a killed process may hold it for a moment."""
    output = ""

    def gone() -> bool:
        nonlocal output
        result = _run("umount", path)
        output = result.stdout
        return result.returncode == 0

    try:
        poll(f"an end of the use of {path}", gone, lambda: f"{output}\n{users_of(path)}")
    except BaseException:
        _run("umount", "--lazy", path)
        raise
