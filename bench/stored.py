"""Verifies what a server has stored."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from connection import Part


class Void(Exception):  # noqa: N818  the result of a run, not an error of the benchmark
    """A run is void: a server or command failed, or the stored files differ from those sent."""


def check_and_remove(folder: Path, parts: Sequence[Part], aside: Path | None = None) -> None:
    """Verify and remove the files below `folder`. Raises Void unless they are what was sent.

    If there is a directory `aside`, on the same filesystem, the files are moved into it instead:
    while ext4 creates a file, it looks at each inode that was freed in the last minutes. After the
    removal of 2,000 files this takes most of the time of the next ones.
    """
    files = list(_files_below(folder))
    # tus chooses the name of each file, and stores a description in a .json file next to it.
    stored = Counter(_sha1(path) for path in files if path.suffix != ".json")
    place = None if aside is None else Path(tempfile.mkdtemp(dir=aside))
    for number, path in enumerate(files):
        if place is None:
            path.unlink()
        else:
            path.rename(place / str(number))
    if stored != Counter(part.sha1 for part in parts):
        raise Void("the stored files differ from those that were sent")


def _files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders, but not in hidden ones, where servers keep others."""
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and not path.name.startswith("."):
            yield from _files_below(path)


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
