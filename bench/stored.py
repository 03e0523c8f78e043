"""Verifies what a server has stored."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from connection import Part


class Void(Exception):  # noqa: N818  the result of a run, not an error of the benchmark
    """A run is void: a server or command failed, or the stored files differ from those sent."""


def check_and_remove(folder: Path, parts: Sequence[Part]) -> None:
    """Verify and remove the files in `folder`. Raises Void unless they are what was sent."""
    files = [path for path in folder.iterdir() if path.is_file()]
    # tus chooses the name of each file, and stores a description in a .json file next to it.
    stored = Counter(_sha1(path) for path in files if path.suffix != ".json")
    for path in files:
        path.unlink()
    if stored != Counter(part.sha1 for part in parts):
        raise Void("the stored files differ from those that were sent")


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
