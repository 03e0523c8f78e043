"""The functions that programs call for many files: `send_files` and `send_files_sync`."""

import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, Unpack, get_args

import trio
from attrs import frozen

from galileod.clock import ProcessClock
from galileod.protocol.messages import AskEntry

from .address import parse_url
from .asking import Asker, SkipExisting
from .content import Content, base_name, milliseconds, open_source
from .errors import OptionError, SendError, Signal
from .lane import send_all
from .options import Options, Receipt, Settings, Unchecked
from .retry import RetryPolicy
from .session import Session
from .sources import FileStamp, Source, path_stamp, type_name
from .state_directory import State
from .work import Item, Work

MAX_CONNECTIONS: Final = 256
"""Maximum of `connections`; each needs up to three descriptors."""

MAX_RESULTS: Final = 1000
"""Maximum results that wait to be read; at this number no further file is begun."""


@frozen
class File:
    """A content, and what is to be known of it: see `send_file`."""

    content: Content
    name: str | None = None
    size: int | None = None
    folder: str | None = None
    modified: float | None = None


@frozen
class FileResult:
    """What became of the content number `index`: a receipt, or an error; the other one is None.

    Both are None if the server had the file already (`held`), at `held_path` if it says that: where
    files may replace others. A receipt with the same `path` is then that of a file in its place.
    """

    index: int
    content: Content
    receipt: Receipt | None = None
    error: SendError | None = None
    held: bool = False
    held_path: str | None = None


@asynccontextmanager
async def send_files(
    url: str,
    contents: Iterable[Content | File],
    *,
    connections: int = 3,
    skip_existing: SkipExisting | None = None,
    **settings: Unpack[Settings],
) -> AsyncGenerator[AsyncIterator[FileResult]]:
    """Send many files to the GalileoSend server at `url`, on as many `connections`.

        async with send_files(url, paths) as results:
            async for result in results:
                print(result.content, result.error or "is stored")

    There is one result for each content, in the order in which they are known. A failure of one
    file does not affect the others. A content is taken from `contents`, and opened, when its turn
    comes; at most MAX_RESULTS results wait to be read. Contents and settings are those of
    `send_file`. If the server supports it, a connection has many files, and small files at paths
    are sent without waiting for the server. `seconds` in a receipt run from the beginning of the
    file.

    Each file is sent again as `send_file` does it. If there is no server, or no permission, the
    files that are left fail with the same error.

    With `skip_existing`, the server is asked first which files it has at their folder and name,
    with the same size, and the same modification time ("modified") or SHA-1 ("hash"). Those are not
    sent: their results are `held`. That is for paths; other contents are always sent. All
    `contents` are taken, and asked for, before the first is sent. A server that does not say what
    it has gets nothing, and each result has a NotAskedError.

    If two receipts have the same `path`, the later file has replaced the earlier one.

    Raises OptionError for invalid arguments. Must be called in trio. At the end of the `async with`
    block the sending is cancelled if it is not complete.
    """
    if not trio.lowlevel.in_trio_run():
        raise OptionError("send_files must be called in trio. Elsewhere call send_files_sync.")
    options, address = Options(**settings), parse_url(url)
    _check_connections(connections)
    _check_skip(skip_existing)
    _check_contents(contents)
    results = _Results()
    items = _items(contents, options, results.add)
    make_work = partial(
        Work, address=address, options=options, policy=RetryPolicy(), state=State(),
        only_resumed=True, hold=results.wait,
    )  # fmt: skip
    try:
        async with trio.open_nursery() as nursery:
            if skip_existing:
                asker = Asker(address, options, RetryPolicy(), nursery)
                nursery.start_soon(
                    _run_asking, asker, skip_existing, items, make_work, connections, results
                )
            else:
                nursery.start_soon(_run, make_work(items), connections, results)
            yield results
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        error = group.exceptions[0]
        raise error from error.__cause__


def send_files_sync(
    url: str,
    contents: Iterable[Content | File],
    *,
    connections: int = 3,
    skip_existing: SkipExisting | None = None,
    **settings: Unpack[Settings],
) -> list[FileResult]:
    """As `send_files`, for programs without trio: the results in the order of `contents`."""
    if trio.lowlevel.in_trio_run():
        raise OptionError("send_files_sync would block trio. Use send_files(...).")

    async def run() -> list[FileResult]:
        async with send_files(
            url, contents, connections=connections, skip_existing=skip_existing, **settings
        ) as results:
            return sorted([one async for one in results], key=lambda one: one.index)

    return trio.run(run, clock=ProcessClock())


async def _run(
    work: Work, connections: int, results: "_Results", session: Session | None = None
) -> None:
    await send_all(work, connections, session)
    results.end()


async def _run_asking(
    asker: Asker,
    skip: SkipExisting,
    items: Iterable["_ContentItem"],
    make_work: Callable[[Iterable[Item]], Work],
    connections: int,
    results: "_Results",
) -> None:
    every = list(items)
    try:
        left = await asker.left(every, skip)
    except SendError as error:
        for item in every:
            if item not in asker.held:
                item.failed(error, dropped=False)
        results.end()
    else:
        await _run(make_work(left), connections, results, asker.release())


class _Results(AsyncIterator[FileResult]):
    """The results that were not read."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[FileResult](math.inf)
        self._read = trio.Event()

    def add(self, result: FileResult) -> None:
        self._send.send_nowait(result)

    def end(self) -> None:
        self._send.close()

    async def wait(self) -> None:
        """Wait while there are too many."""
        while self._receive.statistics().current_buffer_used >= MAX_RESULTS:
            await self._read.wait()

    async def __anext__(self) -> FileResult:
        try:
            result = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self._read.set()
        self._read = trio.Event()
        return result


class _ContentItem(Item):
    """A content on its way."""

    def __init__(
        self, index: int, file: File, options: Options, add: Callable[[FileResult], None]
    ) -> None:
        self._file = file
        self._options = options
        self._result = partial(FileResult, index, file.content)
        self._add = add
        self._stamp: FileStamp | None = None
        if isinstance(file.content, str | os.PathLike) and file.size is None:
            path: Unchecked = os.fspath(file.content)
            texts = (file.name, file.folder)
            if isinstance(path, str) and all(x is None or isinstance(x, str) for x in texts):
                self._set_path(path)

    def _set_path(self, path: str) -> None:
        try:
            self.modified = milliseconds(self._file.modified)
        except OptionError:
            return  # `opened` raises it
        self.path, self.name = path, self._file.name or base_name(path)
        self.folder = self._file.folder or None
        self._stamp = path_stamp(path)
        self.size = self._stamp.size if self._stamp else None

    @property
    def question(self) -> AskEntry | None:
        if self._stamp is None:
            return None
        modified = self._stamp.modified if self.modified is None else self.modified
        return AskEntry(self.name, self._stamp.size, self.folder, modified)

    def held(self, path: str | None) -> None:
        self._add(self._result(held=True, held_path=path))

    def opened(self) -> AbstractAsyncContextManager[Source]:
        file = self._file
        return open_source(
            file.content, file.name, file.size, folder=file.folder, modified=file.modified
        )

    def warned(self, signal: Signal) -> None:
        if self._options.on_warning:
            self._options.on_warning(signal)

    def stored(self, receipt: Receipt) -> None:
        self._add(self._result(receipt=receipt))

    def failed(self, error: SendError, *, dropped: bool) -> None:
        del dropped
        self._add(self._result(error=error))


def _items(
    contents: Iterable[Content | File], options: Options, add: Callable[[FileResult], None]
) -> Iterator[_ContentItem]:
    for index, content in enumerate(contents):
        file = content if isinstance(content, File) else File(content)
        yield _ContentItem(index, file, options, add)


def _check_contents(contents: Unchecked) -> None:
    # Each letter would be taken for a path, each byte for a content.
    if isinstance(contents, str | bytes | bytearray | memoryview):
        raise OptionError(f"contents must be a list of contents, not {type_name(contents)}.")
    if not isinstance(contents, Iterable):
        raise OptionError(f"contents must be an iterable, not {type_name(contents)}.")


def _check_skip(skip: Unchecked) -> None:
    expected = get_args(SkipExisting)
    if skip is not None and skip not in expected:
        raise OptionError(
            f"skip_existing must be {' or '.join(map(repr, expected))}, not {skip!r}."
        )


def _check_connections(connections: Unchecked) -> None:
    if not isinstance(connections, int) or isinstance(connections, bool):
        raise OptionError(f"connections must be a number, not {connections!r}.")
    if not 0 < connections <= MAX_CONNECTIONS:
        raise OptionError(f"connections must be from 1 to {MAX_CONNECTIONS}, not {connections}.")
