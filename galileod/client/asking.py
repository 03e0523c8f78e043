"""Asks a server which files it has already."""

import os
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

import trio

from galileod.protocol.messages import (
    ASK,
    NEXT,
    RESUME,
    AskEntry,
    Close,
    Error,
    Held,
    Metadata,
    Ready,
)

from .address import Address
from .errors import LostError, NonsenseError, NotAskedError, RefusedError, SendError
from .options import Options
from .questions import Question, make_questions, prepare
from .retry import Contact, RetryPolicy
from .session import Session, hold_session
from .transfer import KEY_BYTES
from .work import Item

SkipExisting = Literal["modified", "hash"]
"""What a file that the server has must have in common with the local one, beside its size."""

AnyItem = TypeVar("AnyItem", bound=Item)

OnRetry = Callable[[float, SendError], None]
"""Called if the server could not be asked, with the seconds up to the next attempt."""


class Asker:
    """Asks one server, on one connection after the other."""

    def __init__(
        self,
        address: Address,
        options: Options,
        policy: RetryPolicy,
        nursery: trio.Nursery,
        on_retry: OnRetry = lambda _, __: None,
    ) -> None:
        """`nursery` is for the connections. `held` are the items that the server has."""
        self.held = set[Item]()
        self._address = address
        self._options = options
        self._contact = Contact(policy)
        self._nursery = nursery
        self._on_retry = on_retry
        self._session: Session | None = None

    async def left(self, items: Iterable[AnyItem], skip: SkipExisting) -> list[AnyItem]:
        """The items that the server does not have; the others are told that they are `held`.

        A file is held if the server has one at its place, of its size, and of its modification time
        or hash. Raises NotAskedError and other SendErrors.
        """
        every = list(items)
        questions = make_questions(every, by_hash=skip == "hash")
        if not questions:
            return every
        smallest = min((one.entry for one in questions), key=lambda entry: entry.size)
        send, receive = trio.open_memory_channel[Sequence[Question]](1)
        preparing = trio.CancelScope()
        self._nursery.start_soon(prepare, preparing, questions, send)
        try:
            async for batch in receive:
                answer = await self._ask([one.entry for one in batch], smallest)
                for index in sorted(answer.entries):
                    self.held.add(batch[index].item)
                    batch[index].item.held(answer.paths.get(index))
        finally:
            preparing.cancel()
        return [item for item in every if item not in self.held]

    def release(self) -> Session | None:
        """The connection, on which files can be sent; None if there is none."""
        session, self._session = self._session, None
        return session

    async def close(self) -> None:
        """Close the connection."""
        if session := self.release():
            session.closing.set()
            await session.closed.wait()

    async def _ask(self, entries: Sequence[AskEntry], smallest: AskEntry) -> Held:
        failures = 0
        while True:
            self._contact.begin(trio.current_time())
            try:
                session = await self._opened(smallest)
                return await session.ask(entries)
            except SendError as error:
                await self.close()
                failures += 1
                now = trio.current_time()
                wait = self._contact.wait(
                    error, failures, repeatable=True, random=random.random, now=now
                )
                if wait is None:
                    raise
                self._on_retry(wait, error)
                await trio.sleep(wait)

    async def _opened(self, smallest: AskEntry) -> Session:
        """A session on which a question may be asked now. Raises SendError."""
        if self._session and not self._session.takes_more:
            await self.close()
        if self._session is None:
            self._session = await self._nursery.start(hold_session, self._address, self._options)
            self._contact.accepted = True
            await self._begin(self._session, smallest)
        return self._session

    async def _begin(self, session: Session, entry: AskEntry) -> None:
        """Begin a file, with which the extensions are agreed, and abandon it.

        It is the smallest one, which is least likely to be refused.
        """
        resume = self._options.resume
        metadata = Metadata(
            entry.name,
            entry.size,
            folder=entry.folder,
            modified=entry.modified,
            can=frozenset({ASK, NEXT, RESUME} if resume else {ASK, NEXT}),
            upload=os.urandom(KEY_BYTES).hex() if resume else None,
        )
        first = _First()
        sender, text = session.begin(metadata, first)
        await session.websocket.send_text(text)
        await first.heard_of.wait()
        if not first.ended.is_set() and (sender.has_next or sender.resumable):
            await session.websocket.send_text(sender.abandon())
            await first.ended.wait()
        first.check()
        if session.core is None or not session.core.has_ask:
            raise NotAskedError


class _First:
    """A `Sending` for the file that is abandoned."""

    def __init__(self) -> None:
        self.heard_of = trio.Event()
        self.ended = trio.Event()
        self._error: SendError | None = None

    def heard(self, signal: Ready | Error) -> None:
        if isinstance(signal, Ready):
            self.heard_of.set()

    def answered(self, end: Close | Error, *, over: bool) -> None:
        if over and isinstance(end, Error) and not self.heard_of.is_set():
            self._error = RefusedError(end.details, extended=True)
        self._end()

    def lost(self, error: LostError | NonsenseError) -> None:
        self._error = error
        self._end()

    def _end(self) -> None:
        self.heard_of.set()
        self.ended.set()

    def check(self) -> None:
        """Raise the error that has ended the connection."""
        if self._error:
            raise self._error
