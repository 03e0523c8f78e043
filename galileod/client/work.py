"""The files that several lanes send, and what becomes of each."""

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import trio
from attrs import define

from galileod.protocol.messages import AskEntry, HashClaim

from .address import Address
from .errors import (
    UNAUTHORIZED,
    ConnectError,
    RefusedError,
    SendError,
    Signal,
    UpgradeError,
)
from .options import Options, Progress, Receipt
from .retry import MAX_RETRY_AFTER, Contact, RetryPolicy
from .sources import FileStamp, Source
from .state_directory import State
from .transfer import Watcher


class Item(Watcher, ABC):
    """A file to send, which is opened when its turn comes, and is told what becomes of it.

    `path` is that of a file that may be read at once if it is small; None for other content. `size`
    in bytes is what is known of it before, or None. With the name, `folder` is sent unless it is
    None; `modified` is the time that is sent in place of that of the file, in milliseconds.
    """

    name: str
    folder: str | None = None
    modified: int | None = None
    path: str | None = None
    size: int | None = None

    @property
    def question(self) -> AskEntry | None:
        """What a server is asked that may have the file; None if it is not a file at a path."""
        return None

    def held(self, path: str | None) -> None:
        """The server has the file, at `path` if it tells it: it is not sent."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[Source]:
        """The content. Raises SendError."""

    @abstractmethod
    def stored(self, receipt: Receipt) -> None:
        """The file is stored."""

    @abstractmethod
    def failed(self, error: SendError, *, dropped: bool) -> None:
        """The file was not stored. It was `dropped` if the error is that of another file."""

    def started_whole(self, attempt: int) -> None:
        """As `started`, for a small file that is sent in one go: nothing more is told of it."""
        self.started(attempt)

    def warned(self, signal: Signal) -> None:
        """The server reported an error that is not fatal."""

    def interrupted(self) -> None:
        """The sending was cancelled."""


@define(eq=False)
class Entry:
    """An item that a lane has taken, and what was tried of it.

    `key` is that of its upload, which was begun when the file had this `stamp`; None if there is
    none. `claim` is the hash that was sent with a small file. `failures` of its `attempts` brought
    nothing. It may be sent from the time `due` on.
    """

    item: Item
    progress: int
    key: str | None = None
    stamp: FileStamp | None = None
    claim: HashClaim | None = None
    attempts: int = 0
    failures: int = 0
    due: float = 0.0


class Work:
    """The items, each of which is taken once; and how they are sent.

    If an error shows that there is no server, or no permission, the items that are left fail with
    it. `progress` counts what got through.
    """

    def __init__(
        self,
        items: Iterable[Item],
        address: Address,
        options: Options,
        policy: RetryPolicy,
        state: State,
        *,
        only_resumed: bool = False,
        hold: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`only_resumed`: see `Transfer`. Before an item is taken, `hold` is awaited."""
        self.address = address
        self.options = options
        self.policy = policy
        self.contact = Contact(policy)
        self.state = state
        self.only_resumed = only_resumed
        self._hold = hold
        self.server_error: SendError | None = None
        self.progress = 0
        self._items = iter(items)
        self._following: Item | None = next(self._items, None)

    @property
    def more(self) -> bool:
        """Whether there are items that nobody has taken."""
        return self._following is not None

    async def take(self) -> Entry | None:
        """The next item; None if there is none."""
        if self._hold:
            await self._hold()
        return self._take()

    def _take(self) -> Entry | None:
        if (item := self._following) is None:
            return None
        self._following = next(self._items, None)
        return Entry(item, self.progress)

    def take_small(self, most: int) -> Entry | None:
        """The next item, if it is a file of at most `most` bytes."""
        return self._take() if self._following and is_small(self._following, most) else None

    def wait(self, error: SendError, failures: int, *, resumable: bool) -> float | None:
        """Seconds to wait before a whole file is sent again; None if it is not."""
        if self.only_resumed and not resumable:
            return None
        now = trio.current_time()
        return self.contact.wait(error, failures, repeatable=True, random=random.random, now=now)

    def moved(self, entry: Entry, progress: Progress) -> None:
        """A part of an item was sent."""
        self.progress += 1
        entry.item.moved(progress)

    def stored(self, entry: Entry, receipt: Receipt) -> None:
        """An item is stored."""
        self.progress += 1
        entry.item.stored(receipt)

    def failed(self, entry: Entry, error: SendError) -> None:
        """An item has failed."""
        if self.server_error:
            entry.item.failed(self.server_error, dropped=True)
            return
        # If something got through since this one was taken, the server works.
        if self._concerns_server(error) and (
            not error.transient or self.progress == entry.progress
        ):
            self.server_error = error
        entry.item.failed(error, dropped=False)

    def _concerns_server(self, error: SendError) -> bool:
        """Whether other files would fail in the same way: no connection, or no permission."""
        if isinstance(error, RefusedError):
            # With a token, it may be a ticket: that is for one file, and another one may be it.
            return error.code == UNAUTHORIZED and self.options.token is None
        if isinstance(error, UpgradeError) and error.transient:
            # It may be busy for a moment, unless it asks for a longer wait.
            return error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER
        return isinstance(error, ConnectError)


def is_small(item: Item, most: int) -> bool:
    """Whether the item is a path, and its file had at most `most` bytes when it was looked for."""
    return item.path is not None and item.size is not None and item.size <= most
