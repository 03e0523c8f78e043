"""Finished files: looks at them, and removes them.

Their names come from the ledger, and others may have put anything in their place.
"""

import os
import stat
from collections.abc import Sequence
from copy import copy

from galileod.storage.errors import ConflictError, StorageError
from galileod.storage.escaping import unescaped
from galileod.storage.finished import Removed, Standing
from galileod.storage.oserrors import translated

from .batchwrite import by_folder
from .folders import Folder
from .identity import identities_of
from .leftovers import is_leftover
from .parts import StoreParts


def look(parts: StoreParts, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
    """See `Store.look`. Blocks. Raises StorageError."""
    parts.directory.check()
    return _look_at(parts, _disk_paths(parts, names))


def remove(
    parts: StoreParts, names: Sequence[str], folders: Sequence[str]
) -> Sequence[Removed | StorageError]:
    """See `Store.remove`. Blocks. Raises StorageError before anything is removed."""
    results: dict[int, Removed | StorageError] = {}
    parts.directory.check()
    paths = _disk_paths(parts, names)
    for path, numbers in by_folder(dict(enumerate(paths))).items():
        try:
            found = _remove_from(parts, path, {at: paths[at] for at in numbers})
            results.update(
                (at, one if isinstance(one, StorageError) else Removed(names[at], found=one))
                for at, one in found.items()
            )
        except StorageError as error:
            results.update((at, copy(error)) for at in numbers)
    parts.folders.remove({path for path in folders if path and _is_visible(path)})
    return [results[at] for at in range(len(names))]


def _disk_paths(parts: StoreParts, names: Sequence[str]) -> Sequence[str]:
    """The paths of the files on the disk: `Store.scan` and `Store.walk` have escaped some names."""
    raw = {at: path for at, name in enumerate(names) if (path := unescaped(name)) is not None}
    paths = list(names)
    for at, found in zip(raw, _look_at(parts, [names[at] for at in raw]), strict=True):
        if found is None:
            paths[at] = raw[at]
    return paths


def _look_at(parts: StoreParts, paths: Sequence[str]) -> list[Standing | StorageError | None]:
    found: list[Standing | StorageError | None] = [None] * len(paths)
    for path, numbers in by_folder(dict(enumerate(paths))).items():
        if not _is_visible(path):
            continue
        try:
            with parts.folders.nearest(path) as (folder, exists):
                for at in numbers if exists else ():
                    try:
                        found[at] = _look(folder, paths[at])
                    except StorageError as error:
                        found[at] = error
        except ConflictError:
            continue  # what is there is no folder: it has no files
        except StorageError as error:
            for at in numbers:
                found[at] = copy(error)
    return found


def _is_visible(path: str) -> bool:
    """Whether a folder may have finished files: not `.galileod`, or one that others have hidden."""
    return not path or all(
        part and not part.startswith(".") and "\0" not in part for part in path.split("/")
    )


def _remove_from(
    parts: StoreParts, path: str, names: dict[int, str]
) -> dict[int, bool | StorageError]:
    """Remove files from one folder: whether each was there, or its error. Raises StorageError."""
    results: dict[int, bool | StorageError] = dict.fromkeys(names, False)
    if not _is_visible(path):
        return results
    try:
        with parts.folders.nearest(path) as (folder, exists):
            if not exists:
                return results
            for at, name in names.items():
                try:
                    results[at] = _unlink(folder, name)
                except StorageError as error:
                    results[at] = error
            with translated(f"cannot make the removal from the folder {path or '.'} durable"):
                folder.sync()
    except ConflictError:
        pass  # what is there is no folder: it has no files
    return results


def _unlink(folder: Folder, path: str) -> bool:
    if _look(folder, path) is None:
        return False
    with translated(f"cannot remove {path}"):
        try:
            os.unlink(path.rpartition("/")[2], dir_fd=folder.fd)
        except FileNotFoundError:
            return False  # since a moment ago
    return True


def _look(folder: Folder, path: str) -> Standing | None:
    """The file at the path, which is in the folder; None if there is none. Raises StorageError."""
    name = path.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name or is_leftover(name):
        return None
    with translated(f"cannot stat {path}"):
        try:
            state = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return Standing(state.st_size, state.st_mtime_ns, identities=identities_of(state))
