"""The scan of a store at the start: finds all finished files, in one pass over its folders."""

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from galileod.policy.folders import MAX_DEPTH as MAX_FOLDER_DEPTH
from galileod.policy.layout import MAX_STEPS
from galileod.storage.escaping import escaped
from galileod.storage.finished import Found, Progress
from galileod.storage.oserrors import translated

from .directory import DIRECTORY
from .identity import identities_of
from .leftovers import is_leftover, remove_leftover, remove_old
from .listing import entries_of

MAX_DEPTH: Final = MAX_STEPS + MAX_FOLDER_DEPTH
"""Levels of folders that are searched for files: no layout with a client's folder has more."""


def scan(
    fd: int, identities: Collection[str], progress: Progress, undated: Collection[str]
) -> Found:
    """Find the files below the directory `fd`. See `Store.scan`."""
    sizes: dict[str, int] = {}
    names: dict[str, str] = {}
    modified: dict[str, float] = {}
    dates = frozenset(undated)
    with translated("cannot list the directory"):
        for count, (path, state) in enumerate(files_below(fd, "", MAX_DEPTH), 1):
            sizes[path] = state.st_size
            if identities:
                names.update((one, path) for one in identities_of(state) if one in identities)
            if path in dates:
                modified[path] = state.st_mtime
            progress(count)
    return Found(sizes, names, modified)


def find(fd: int, identities: Collection[str], progress: Progress) -> Found:
    """Find the files with these identities, while others come and go. See `Store.scan`."""
    names: dict[str, str] = {}
    if identities:
        with translated("cannot list the directory"):
            for count, (path, state) in enumerate(files_below(fd, "", MAX_DEPTH, shared=True), 1):
                names.update((one, path) for one in identities_of(state) if one in identities)
                progress(count)
    return Found(None, names)


def walk(fd: int, count: int, *, shared: bool = False) -> Iterator[Sequence[str]]:
    """The names of the files below the directory `fd`. See `Store.walk` and `files_below`."""
    page = list[str]()
    with translated("cannot list the directory"):
        for path in _names_below(fd, "", MAX_DEPTH, shared=shared):
            page.append(path)
            if len(page) == count:
                yield page
                page = []
    if page:
        yield page


def _names_below(fd: int, prefix: str, depth: int, *, shared: bool) -> Iterator[str]:
    """As `files_below`, while files and folders come and go; temporary files are in use."""
    with entries_of(fd) as entries:
        for entry in entries:
            name = escaped(entry.name)
            if entry.is_file(follow_symlinks=False):
                if not is_leftover(name):
                    yield prefix + name
                elif shared:
                    remove_old(fd, entry.name)
            elif depth and not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                try:
                    child = os.open(entry.name, DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except (PermissionError, FileNotFoundError, NotADirectoryError):
                    continue  # none of our files are there, or it was removed since
                try:
                    yield from _names_below(child, f"{prefix}{name}/", depth - 1, shared=shared)
                finally:
                    os.close(child)


def files_below(
    fd: int, prefix: str, depth: int, *, shared: bool = False
) -> Iterator[tuple[str, os.stat_result]]:
    """Paths and stat results of the regular files in the folder `fd` and `depth` levels below it.

    Hidden folders are left out; symbolic links are not followed. Files that a crash left under a
    temporary name are removed; if the folders are `shared`, those that no node uses any more. A
    name that is not UTF-8, which others made, is escaped. Blocks; raises OSError.
    """
    with entries_of(fd) as entries:
        for entry in entries:
            name = escaped(entry.name)
            if entry.is_file(follow_symlinks=False):
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed since a moment ago
                if not is_leftover(name):
                    yield prefix + name, state
                elif shared:
                    remove_old(fd, entry.name)
                else:
                    remove_leftover(fd, entry.name)
            elif depth and not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                try:
                    child = os.open(entry.name, DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except PermissionError:
                    continue  # not created by galileod (lost+found): it holds none of our files
                except FileNotFoundError:
                    continue  # removed since a moment ago
                try:
                    yield from files_below(child, f"{prefix}{name}/", depth - 1, shared=shared)
                finally:
                    os.close(child)
