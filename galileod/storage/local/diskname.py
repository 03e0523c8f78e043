"""The name that a filesystem gave to a file, where it ignores case or changes the Unicode form."""

import os
import unicodedata

from .listing import entries_of


def name_on_disk(folder_fd: int, name: str) -> str:
    """The name under which the folder lists the file that is opened as `name`. Raises OSError."""
    inode = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_ino
    with entries_of(folder_fd) as entries:
        # A file may have several names in the folder.
        names = [entry.name for entry in entries if entry.inode() == inode]
    if name in names:
        return name
    return next((other for other in names if _folded(other) == _folded(name)), name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
