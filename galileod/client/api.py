"""The two functions that programs call: `send_file` and `send_file_sync`."""

from functools import partial
from typing import Unpack

import trio

from galileod.clock import ProcessClock

from .address import parse_url
from .content import Content, open_source
from .errors import OptionError
from .options import OnProgress, Options, Progress, Receipt, Settings
from .remembered import remembered
from .retry import RetryPolicy
from .state_directory import State
from .transfer import Transfer, Watcher


async def send_file(
    url: str,
    content: Content,
    *,
    name: str | None = None,
    size: int | None = None,
    folder: str | None = None,
    modified: float | None = None,
    on_progress: OnProgress | None = None,
    **settings: Unpack[Settings],
) -> Receipt:
    """Send a file to the GalileoSend server at `url`; returns when it is stored.

    `content` is a path (str or PathLike), bytes, an open binary file, which is read from its
    current position, or an async iterator of bytes. `name` is the name to store under; default:
    the last component of the path. `size` in bytes is required if it cannot be determined: for an
    async iterator and for a pipe. `folder` is where the server is to store the file, with "/"
    between the parts, as in "photos/june"; by default it is told none. `modified` is the file's
    modification time in seconds since 1970; default: that of the file at the path, and none for
    other contents. Servers that do not know these two ignore them. `on_progress` is called after
    each part of at most 1 MiB; an exception in it ends the upload. `Options` describes the other
    settings.

    If the connection is lost, or the server is busy, the upload goes on by itself: with a server
    that can resume, and a content that can be read from any position, so not with an async iterator
    or a pipe. Attempts are counted only while nothing gets through. What was begun of a path is
    remembered in `$XDG_STATE_HOME/galileo-send`, so that another process goes on with it: call
    this again with the same arguments.

    Raises SendError; its subclass OptionError for invalid arguments. Must be called in trio. If it
    is cancelled the connection is closed at once. The server then discards the file, some time
    later if it can resume.
    """
    if not trio.lowlevel.in_trio_run():
        raise OptionError(
            "send_file must be called in trio. Elsewhere call send_file_sync; in asyncio: "
            "await asyncio.to_thread(send_file_sync, ...)."
        )
    if on_progress is not None and not callable(on_progress):
        raise OptionError(f"on_progress must be a function, not {on_progress!r}.")
    options = Options(**settings)
    address = parse_url(url)
    watcher = _Listener(on_progress) if on_progress else Watcher()
    async with open_source(content, name, size, folder=folder, modified=modified) as source:
        with remembered(State(), address, source, options) as memory:
            transfer = Transfer(
                address, source, options, RetryPolicy(), watcher, memory, only_resumed=True
            )
            return await transfer.run()


class _Listener(Watcher):
    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def moved(self, progress: Progress) -> None:
        self._on_progress(progress)


def send_file_sync(
    url: str,
    content: Content,
    *,
    name: str | None = None,
    size: int | None = None,
    folder: str | None = None,
    modified: float | None = None,
    on_progress: OnProgress | None = None,
    **settings: Unpack[Settings],
) -> Receipt:
    """As `send_file`, for programs without trio: blocks until the file is stored."""
    if trio.lowlevel.in_trio_run():
        raise OptionError("send_file_sync would block trio. Use await send_file(...).")
    sending = partial(
        send_file, url, content, name=name, size=size, folder=folder, modified=modified,
        on_progress=on_progress, **settings,
    )  # fmt: skip
    return trio.run(sending, clock=ProcessClock())
