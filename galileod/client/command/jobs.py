"""What a command is to send: files, folders, standard input; each becomes a job."""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from attrs import frozen

from galileod.client.errors import SourceError
from galileod.client.opening import Content, absolute, name_of


@frozen
class Job:
    """One file to send: `label` is how the user calls it, `name` what it is sent under.

    `open` gives the content, anew for each attempt. `size` in bytes is for the bars, and None where
    only the opening tells; `declared` is one that the content itself does not know. `again` tells
    whether it can be opened once more.
    """

    label: str
    open: Callable[[], Awaitable[Content]]
    name: str
    size: int | None = None
    declared: int | None = None
    again: Callable[[], bool] = lambda: True


def file_job(path: str, name: str | None = None) -> Job:
    """The job for a file at a path."""

    async def the_path() -> Content:
        _advise(path)
        return path

    return Job(path, the_path, name or name_of(path), _size(path))


def _advise(path: str) -> None:
    """For what is no file, a sentence that says what the command can do with it."""
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder. Its files are sent with --recursive.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path} is no ordinary file. What it gives can be piped to -.")


@frozen
class Passed:
    """Something in a folder that is not sent, and why."""

    label: str
    why: str


def collect(paths: Iterable[str], name: str | None, *, recursive: bool) -> list[Job | Passed]:
    """The jobs for these paths, in their order; what a folder holds comes in the order of names.

    What cannot be read becomes a job all the same, and fails as one. What is named twice, as when
    a folder and one in it are, is sent once.
    """
    found: dict[str, Job | Passed] = {}
    for path in paths:
        if recursive and os.path.isdir(path):
            for entry in _walk(path):
                found.setdefault(absolute(entry.label), entry)
        else:
            found.setdefault(absolute(path), file_job(path, name))
    return list(found.values())


def doubled(jobs: Sequence[Job]) -> list[str]:
    """Names under which more than one file is sent. A server has no folders."""
    return [name for name, count in Counter(job.name for job in jobs).items() if count > 1]


def _walk(folder: str) -> Iterator[Job | Passed]:
    """Ordinary files at any depth. Links to files are followed, links to folders are not."""
    unread: list[OSError] = []
    empty = True
    waiting = [folder]
    while waiting:
        # A folder at a time: for folders in folders os.walk calls itself, up to Python's limit.
        here = os.walk(waiting.pop(), onerror=unread.append)
        place, folders, files = next(here, ("", [], []))
        folders.sort()
        empty = empty and not files
        for name in sorted(files):
            path = os.path.join(place, name)
            if os.path.isfile(path) or not os.path.exists(path):
                yield file_job(path)
            else:
                yield Passed(path, "no ordinary file")
        for name in folders:
            if os.path.islink(path := os.path.join(place, name)):
                yield Passed(path, "a link to a folder")
        waiting += [
            path
            for name in reversed(folders)
            if not os.path.islink(path := os.path.join(place, name))
        ]
    if empty and not unread:
        yield Passed(folder, "there is no file in it")
    for error in unread:
        yield _unread_job(error)


def _unread_job(error: OSError) -> Job:
    """It fails as a job, so that a folder that cannot be listed counts as a failure."""
    path = str(error.filename)

    async def fail() -> Content:
        raise SourceError(f"{path} cannot be read: {error.strerror}.")

    return Job(path, fail, name_of(path))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None  # the sentence for it comes when the job is done
