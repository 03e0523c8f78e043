"""A client of many files on one connection, as the cases of sections 9 and 10 need it."""

import hashlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

SMALL: Final = 3000
"""Bytes of a small file, where the server takes it whole."""
MAX_WHOLE: Final = 8 * 1024 * 1024
"""The largest `whole` beside which cases send larger files."""


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Content that is different at each offset and for each seed."""
    return hashlib.shake_128(seed.to_bytes(8)).digest(size)


@attrs.define(eq=False)
class ManyUploads:
    """A connection on which `next` is agreed."""

    connection: ServerConnection
    judge: Judge
    first: Signal
    """The server's first signal."""
    whole: int = 0
    room: int = 0
    next: int = 0
    count: int = 1
    """The files whose metadata were sent, file 0 included."""
    answers: dict[int, Signal] = attrs.field(factory=dict)
    """`close` or the fatal error about each file."""
    ended: Signal | None = None
    """The fatal error that ended the connection."""
    last: bool = False
    held: deque[Signal] = attrs.field(factory=deque)
    readies: defaultdict[int, deque[Signal]] = attrs.field(factory=lambda: defaultdict(deque))
    """The unanswered `ready` signals about each file."""

    async def begin(self, name: str, size: int, **more: Any) -> int:  # noqa: ANN401  # JSON
        """Send the metadata of a further file; return its number."""
        await self.connection.send_metadata(name, size, **more)
        self.count += 1
        return self.count - 1

    async def send(self, name: str, content: bytes, **more: Any) -> int:  # noqa: ANN401  # JSON
        """Send a further file as its size demands; return its number. Does not wait for its answer.

        Does not look after `next` and `room`.
        """
        number = await self.begin(name, len(content), **more)
        await self.send_content(number, content)
        return number

    async def send_content(self, number: int, content: bytes, *, sent: int = 0) -> None:
        """Send the content of a further file from `sent` on, and `finished`."""
        if 0 < len(content) <= self.whole:
            await self.connection.send_chunk(content)
        elif content:
            sent = await self.send_part(number, content, sent, len(content))
            if sent < len(content):
                return
        await self.connection.send_finished(content)

    async def send_part(self, number: int, content: bytes, sent: int, end: int) -> int:
        """Send a file's bytes from `sent` to `end`, at most one chunk for each `ready`.

        Returns the end of what was sent, which is less where the file is answered before.
        """
        while sent < end:
            ready = await self.ready(number)
            if ready is None:
                return sent
            limit = ready.get("chunksize")
            size = limit if isinstance(limit, int) and limit > 0 else DEFAULT_CHUNK
            await self.connection.send_chunk(content[sent : min(sent + size, end)])
            sent = min(sent + size, end)
        return sent

    async def ready(self, number: int, requirement: str | None = None) -> Signal | None:
        """The next `ready` about a file; None where the file is answered instead."""
        while not self.readies[number]:
            if number in self.answers or self.ended:
                return None
            await self.take(requirement, f"expected ready about file {number}")
        return self.readies[number].popleft()

    async def answer(self, number: int, requirement: str | None = None) -> Signal:
        """`close` or the fatal error about a file, or the error that ended the connection.

        Ends the case where none comes.
        """
        while number not in self.answers:
            if self.ended is not None:
                return self.ended
            await self.take(requirement, f"expected close or an error about file {number}")
        return self.answers[number]

    async def expect_stored(self, number: int, requirement: str | None = None) -> Signal:
        """`close` about a file; ends the case otherwise."""
        answer = await self.answer(number, requirement)
        expected = f"expected close about file {number}, but it got {answer}"
        self.judge.require(requirement, answer.get("close"), expected)
        return answer

    async def expect_error(self, number: int, requirement: str | None, why: str) -> Signal:
        """A fatal error about a file, or one that ends the connection; ends the case otherwise."""
        answer = await self.answer(number, requirement)
        self.judge.require(requirement, answer.get("error"), f"{why}, but it got {answer}")
        return answer

    async def take(self, requirement: str | None, expected: str) -> Signal:
        """Take one signal; ends the case where none comes."""
        event = await self.connection.message()
        signal = as_signal(event)
        if signal is None:
            self.judge.fail(requirement, f"{expected}, {describe(event)}")
        self.note(signal)
        return signal

    def note(self, signal: Signal) -> None:
        """Keep what a signal says."""
        number = signal.get("file", 0)
        if signal.get("error"):
            if not signal.get("fatal"):
                return
            if not signal.get("next"):
                self.ended = signal
            else:
                self.answers[number] = signal
        elif signal.get("ready"):
            self.readies[number].append(signal)
        elif signal.get("close"):
            self.answers[number] = signal
        self.last = self.last or bool(signal.get("last"))
        if "held" in signal:
            self.held.append(signal)
        for name in ("whole", "room", "next"):
            value = signal.get(name)
            if not signal.get("error") and type(value) is int and value > getattr(self, name):
                setattr(self, name, value)

    def small(self, seed: int) -> bytes:
        """Content that is sent whole, of at most SMALL bytes; empty where the server takes none."""
        return some_bytes(min(self.whole, SMALL), seed)

    def large(self, seed: int, more: int = SMALL) -> bytes:
        """Content that is larger than `whole` by `more` bytes. Ends the case where that is much."""
        if self.whole > MAX_WHOLE:
            self.judge.skip(f"the server takes files of {self.whole} bytes whole")
        return some_bytes(self.whole + more, seed)


@asynccontextmanager
async def many_uploads(
    server: Server,
    judge: Judge,
    *,
    can: Collection[str] = ("next",),
    name: str | None = None,
    complete: bool = True,
    **more: Any,  # noqa: ANN401  # JSON
) -> AsyncIterator[ManyUploads]:
    """A connection on which all of `can` is agreed; with `complete`, file 0 is stored.

    Without `complete`, the first signal about file 0 is all that has come. Ends the case as
    UNSUPPORTED where the server does not agree. `name` and `more` belong to the metadata.
    """
    content = some_bytes(SMALL)
    async with server.connect(content=content) as connection:
        file_0 = name or server.name()
        await connection.send_metadata(file_0, len(content), can=list(can), **more)
        event = await connection.message()
        first = as_signal(event)
        if first is None:
            judge.fail(None, f"expected a first signal, {describe(event)}")
        if connection.warned is not None:  # that was the first signal
            stated = ("can", "next", "whole", "room")
            first |= {key: connection.warned[key] for key in stated if key in connection.warned}
        agreed = first.get("can")
        if missing := [one for one in can if not isinstance(agreed, list) or one not in agreed]:
            judge.unsupported(f"the server does not offer {', '.join(missing)}")
        uploads = ManyUploads(connection, judge, first)
        uploads.note(first)
        if complete:
            await uploads.send_part(0, content, 0, len(content))
            await uploads.ready(0)
            await connection.send_finished(content)
            await uploads.expect_stored(0)
        yield uploads
