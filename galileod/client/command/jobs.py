"""Finds the files to send: each path, and the files in directories, become jobs."""

import os
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from attrs import evolve, frozen

from galileod.client.content import Content, absolute, as_utf8, base_name
from galileod.client.errors import SourceError
from galileod.client.sources import FileStamp
from galileod.protocol.messages import AskEntry


@frozen
class Job:
    """One file to send. `label` is the path that the user gave, `name` the name to store under.

    `open` returns the content. `size` in bytes is for the progress bars, None if it is not known.
    `declared` is the size given by the user, for content whose size cannot be determined. `path` is
    that of a file, None for other content. `folder` is sent with the name unless it is None.
    `modified` is the modification time of a file in milliseconds since 1970, None if it is not
    known.
    """

    label: str
    open: Callable[[], Awaitable[Content]]
    name: str
    size: int | None = None
    declared: int | None = None
    path: str | None = None
    folder: str | None = None
    modified: int | None = None

    @property
    def question(self) -> AskEntry | None:
        """What a server is asked that may have the file; None for other content."""
        if self.path is None or self.size is None or self.modified is None:
            return None
        return AskEntry(self.name, self.size, self.folder, self.modified)

    @property
    def place(self) -> str:
        """The folder, if there is one, and the name."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


def file_job(
    path: str,
    status: os.stat_result | None,
    name: str | None = None,
    folder: str | None = None,
) -> Job:
    """The job for a file at a path, with this status if it is known."""

    async def the_path() -> Content:
        _check(path)
        return path

    job = Job(path, the_path, name or base_name(path), path=path, folder=folder)
    if status is None or not stat.S_ISREG(status.st_mode):
        return job  # opening it raises the error
    stamp = FileStamp(status.st_size, status.st_mtime_ns)
    return evolve(job, size=stamp.size, modified=stamp.modified)


def _check(path: str) -> None:
    """Raise SourceError, with advice, for a path that is not a regular file."""
    if os.path.isdir(path):
        raise SourceError(f"{path} is a directory. Use --recursive to send its files.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path} is not a regular file. Pipe its content to - instead.")


@frozen
class Skipped:
    """A path in a directory that is not sent, and why."""

    label: str
    why: str


def collect(
    paths: Iterable[str], name: str | None, *, recursive: bool, flat: bool = False
) -> list[Job | Skipped]:
    """The jobs for these paths, in order; those of a directory sorted by name.

    The files in a directory have a folder, unless `flat`. A path that cannot be read becomes a job,
    which fails. A path that occurs twice, for example if a directory and a file in it are given,
    becomes one job.
    """
    found: dict[str, Job | Skipped] = {}
    for path in paths:
        if recursive and os.path.isdir(path):
            for entry in _walk(path, flat=flat):
                found.setdefault(absolute(entry.label), entry)
        else:
            found.setdefault(absolute(path), file_job(path, _status(path), name))
    return list(found.values())


def duplicate_places(jobs: Sequence[Job]) -> list[str]:
    """Places of more than one file: names with their folders."""
    return [place for place, count in Counter(job.place for job in jobs).items() if count > 1]


def _folder(chosen: str, directory: str) -> str | None:
    """The folder of the files in `directory`, which is `chosen` or below it.

    It begins with the name of the chosen directory, as in `cp -r`. Of `.`, `..`, `a/.` and `/` it
    has none.
    """
    name = os.path.basename(chosen.rstrip("/"))
    first = "" if name in (".", "..") else name
    parts = [first, *directory.removeprefix(chosen).split("/")]
    return "/".join(as_utf8(part) for part in parts if part) or None


def _walk(directory: str, *, flat: bool) -> Iterator[Job | Skipped]:
    """Regular files at any depth. Links to files are followed, links to directories are not."""
    unread: list[OSError] = []
    empty = True
    waiting = [directory]
    while waiting:
        # One directory at a time: os.walk recurses, up to Python's recursion limit.
        here = os.walk(waiting.pop(), onerror=unread.append)
        place, subdirectories, files = next(here, ("", [], []))
        subdirectories.sort()
        empty = empty and not files
        folder = None if flat else _folder(directory, place)
        for name in sorted(files):
            path = os.path.join(place, name)
            status = _status(path)
            if status is None or stat.S_ISREG(status.st_mode):
                yield file_job(path, status, folder=folder)
            else:
                yield Skipped(path, "not a regular file")
        for name in subdirectories:
            if os.path.islink(path := os.path.join(place, name)):
                yield Skipped(path, "a link to a directory")
        waiting += [
            path
            for name in reversed(subdirectories)
            if not os.path.islink(path := os.path.join(place, name))
        ]
    if empty and not unread:
        yield Skipped(directory, "it contains no files")
    for error in unread:
        yield _unread_job(error)


def _unread_job(error: OSError) -> Job:
    """A job that fails, so that a directory that cannot be listed counts as a failure."""
    path = str(error.filename)

    async def fail() -> Content:
        raise SourceError(f"{path} cannot be read: {error.strerror}.")

    return Job(path, fail, base_name(path))


def _status(path: str) -> os.stat_result | None:
    """The status of a file, which is read once; None if that fails."""
    try:
        return os.stat(path)
    except OSError:
        return None  # opening it will raise the error
