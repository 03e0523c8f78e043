"""The file that the benchmarks send, whole or in parts: random bytes on tmpfs."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connection import Part

BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """An open file of `size` bytes in a new directory, in which servers may have their own."""

    folder: Path
    path: Path
    descriptor: int
    size: int

    def parts(self, count: int, size: int | None = None) -> list[Part]:
        """`count` consecutive parts of `size` bytes; by default they cover the whole file.

        If they exceed the file, they start over at its beginning.
        """
        size = size or self.size // count
        room = self.size // size
        return [self._part(f"{number}.bin", number % room * size, size) for number in range(count)]

    def _part(self, name: str, offset: int, size: int) -> Part:
        sha1 = hashlib.sha1()  # noqa: S324
        for start in range(offset, offset + size, BLOCK):
            length = min(BLOCK, offset + size - start)
            sha1.update(os.pread(self.descriptor, length, start))
        return Part(name, self.descriptor, offset, size, sha1.hexdigest())


@contextmanager
def source(within: Path, size: int) -> Iterator[Source]:
    """Create a source of `size` bytes; its directory is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="galileod-bench-", dir=within) as folder:
        path = Path(folder) / "source"
        with path.open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - start)))
        with path.open("rb") as file:
            yield Source(Path(folder), path, file.fileno(), size)
