"""What a command is to send: files, folders, standard input; each becomes a job."""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from attrs import frozen

from .sources import Content, name_of


@frozen
class Job:
    """One file to send: `label` is how the user calls it, `name` what it is sent under.

    `open` gives the content, anew for each attempt. `size` in bytes is for the bars, and None where
    only the opening tells; `declared` is one that the content itself does not know. `again`:
    whether it can be read a second time.
    """

    label: str
    open: Callable[[], Awaitable[Content]]
    name: str
    size: int | None = None
    declared: int | None = None
    again: bool = True


def file_job(path: str, name: str | None = None) -> Job:
    """The job for a file at a path."""

    async def the_path() -> Content:
        return path

    return Job(path, the_path, name or name_of(path), _size(path))


@frozen
class Passed:
    """Something in a folder that is not sent, and why."""

    path: str
    why: str


def collect(paths: Iterable[str], name: str | None, *, recursive: bool) -> list[Job | Passed]:
    """The jobs for these paths, in their order; what a folder holds comes in the order of names.

    What cannot be read becomes a job all the same, and fails as one.
    """
    found: list[Job | Passed] = []
    for path in paths:
        if recursive and os.path.isdir(path):
            found += _walk(path)
        else:
            found.append(file_job(path, name))
    return found


def doubled(jobs: Sequence[Job]) -> list[str]:
    """Names under which more than one file is sent. A server has no folders."""
    return [name for name, count in Counter(job.name for job in jobs).items() if count > 1]


def _walk(folder: str) -> Iterator[Job | Passed]:
    """Ordinary files at any depth. Links to files are followed, links to folders are not."""
    unread: list[OSError] = []
    waiting = [folder]
    while waiting:
        # A folder at a time: for folders in folders os.walk calls itself, up to Python's limit.
        here = os.walk(waiting.pop(), onerror=unread.append)
        place, folders, files = next(here, ("", [], []))
        folders.sort()
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
    for error in unread:
        yield file_job(str(error.filename))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None  # the sentence for it comes when the job is done
