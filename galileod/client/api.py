"""The two functions that programs call."""

from functools import partial
from typing import Unpack

import trio

from .address import parse_url
from .errors import OptionError
from .opening import Content, open_source
from .upload import upload
from .values import OnProgress, Options, Receipt, Settings


async def send_file(
    url: str,
    content: Content,
    *,
    name: str | None = None,
    size: int | None = None,
    on_progress: OnProgress | None = None,
    **settings: Unpack[Settings],
) -> Receipt:
    """Send a file to the GalileoSend server at `url`; the receipt means that it is stored.

    `content` is a path (str or PathLike), bytes, an open binary file, which is read from where it
    stands, or an async iterator of bytes. `name` is what the file is sent under; without it the
    last part of the path. `size` in bytes must be given where it cannot be known: for an async
    iterator, and for a file that is a pipe. `on_progress` is called after each part of at most
    1 MiB; what it raises ends the upload. `Options` describes the other settings.

    Raises SendError, of which OptionError is for arguments that cannot be. Needs to run in trio.
    When it is cancelled the connection is closed at once, and the server discards what it got.
    """
    if not trio.lowlevel.in_trio_run():
        raise OptionError(
            "send_file needs to run in trio. Elsewhere call send_file_sync; from asyncio: "
            "await asyncio.to_thread(send_file_sync, ...)."
        )
    if on_progress is not None and not callable(on_progress):
        raise OptionError(f"The on_progress must be a function, and not {on_progress!r}.")
    options = Options(**settings)
    address = parse_url(url)
    async with open_source(content, name, size) as source:
        return await upload(address, source, options, on_progress)


def send_file_sync(
    url: str,
    content: Content,
    *,
    name: str | None = None,
    size: int | None = None,
    on_progress: OnProgress | None = None,
    **settings: Unpack[Settings],
) -> Receipt:
    """As `send_file`, for a program without an event loop of trio's: blocks until it is done."""
    if trio.lowlevel.in_trio_run():
        raise OptionError("send_file_sync would block trio. Here: await send_file(...).")
    sending = partial(
        send_file, url, content, name=name, size=size, on_progress=on_progress, **settings
    )
    return trio.run(sending)
