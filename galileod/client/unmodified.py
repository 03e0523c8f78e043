"""Tells whether a file with another modification time still has the content that was sent.

On some filesystems, such as those of FUSE, the time settles only after the last write.
"""

from collections.abc import Mapping
from typing import Final

from .hashing import FileHash
from .sources import Source

READ_SIZE: Final = 1024 * 1024
"""Bytes of one read."""


async def begins_with(source: Source, end: int, hashes: Mapping[str, str]) -> bool:
    """Whether the bytes of `source` before `end` have these hashes, one at most; it reads them.

    False if there is none. Raises SourceError, also if the file is touched meanwhile.
    """
    for kind, value in hashes.items():
        found = FileHash(kind)
        while found.position < end:
            length = min(READ_SIZE, end - found.position)
            if not await source.read(found.position, length, found.append):
                return False
        return not found.differs(kind, value)
    return False
