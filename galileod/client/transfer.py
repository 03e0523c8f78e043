"""Sends one file, in as many attempts as it takes. An upload goes on where the server has it."""

import os
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, Protocol

import trio

from galileod.protocol.messages import Metadata, Resumption

from .abandoning import abandon, abandon_cancelled
from .address import Address
from .errors import (
    DifferentError,
    NonsenseError,
    OldServerError,
    RefusedError,
    SendError,
    SourceError,
)
from .formatting import format_period
from .hashing import FileHash
from .options import Options, Progress, Receipt
from .retry import Contact, RetryPolicy
from .sources import FileStamp, Source
from .unmodified import begins_with
from .upload import Attempt, Outcome, upload

KEY_BYTES: Final = 16
"""Random bytes in the key of an upload."""

OLD_SERVERS: Final = 3
"""Maximum attempts that end because a server cannot resume, while one before it could. The next
sends the file from its beginning."""


class Watcher:
    """Is told what happens to an upload. It does nothing."""

    def started(self, attempt: int) -> None:
        """An attempt begins. A SendError raised here ends the upload."""

    def resumable(self, offset: int, size: int, keep: int) -> None:
        """The server has `offset` of `size` bytes, and will keep what it gets for `keep` seconds.

        `keep` is 0 if this process cannot be followed by another: then the key is lost with it.
        """

    def moved(self, progress: Progress) -> None:
        """More bytes were sent."""

    def retrying(self, attempt: int, wait: float, error: SendError) -> None:
        """An attempt failed; the next begins in `wait` seconds."""


class Memory(Protocol):
    """Remembers what was begun beyond this process. It raises nothing."""

    async def recall(self, source: Source) -> tuple[str | None, Metadata | None]:
        """The key of the upload of this file that was begun.

        If the file has changed since, there is no key, but the metadata of what was begun.
        """

    async def remember(self, source: Source, key: str) -> bool:
        """The upload was begun, and can be resumed. Returns whether that is remembered now."""

    async def forget(self) -> None:
        """The upload has ended for good."""


SendAttempt = Callable[[Source, Options, Attempt], Awaitable[Outcome]]
"""Sends a source once. Raises SendError."""


class Transfer:
    """One file on its way to a server. `run` may be called once.

    An attempt is repeated as `policy` says; if `only_resumed`, not before server and client have
    agreed that the upload can be resumed. Without `send_attempt`, each has a connection of its own.

    `attempts` were made before, with `key`, if the upload can be resumed. `contact` is that of the
    run, if it has more files.
    """

    def __init__(  # noqa: PLR0913  what differs between its users
        self,
        address: Address,
        source: Source,
        options: Options,
        policy: RetryPolicy,
        watcher: Watcher,
        memory: Memory | None = None,
        *,
        send_attempt: SendAttempt | None = None,
        only_resumed: bool = False,
        key: str | None = None,
        attempts: int = 0,
        contact: Contact | None = None,
    ) -> None:
        self._address = address
        self._source = source
        self._options = options
        self._policy = policy
        self._contact = contact or Contact(policy)
        self._watcher = watcher
        self._memory = memory
        self._send_attempt = send_attempt
        self._only_resumed = only_resumed
        self._attempts = attempts
        self._resumes = options.resume and source.seekable
        self._failures = 0  # attempts since one got on
        self._old_servers = 0
        self._differed = False
        self._key: str | None = None
        self._begin(None)
        if key is not None:
            self._key, self._agreed = key, True

    def _begin(self, key: str | None) -> None:
        """Begin an upload, or one that was begun in another process."""
        self._key = (key or os.urandom(KEY_BYTES).hex()) if self._resumes else None
        self._agreed = key is not None  # that it can be resumed
        self._remembered = key is not None
        self._hash = FileHash(self._options.hash)
        self._reached = 0  # the highest offset that the server had
        self._unhashed: int | None = None  # where the hash was, if it was behind the offset
        self._resumed: int | None = None  # the first offset in this process
        self._keep = 0
        self._sent = 0
        self._began = trio.current_time()

    async def run(self) -> Receipt:
        """Send the file. Raises SendError.

        If it is cancelled, an upload that no other process can continue is abandoned.
        """
        try:
            return await self._run()
        except SendError:
            raise
        except BaseException:
            if self._agreed and self._sent and not self._remembered:
                begun = self._source.metadata(self._key)
                await abandon_cancelled(self._address, begun, self._options)
            raise

    async def _run(self) -> Receipt:
        await self._recall()
        for number in count(self._attempts + 1):
            self._watcher.started(number)
            if not self._agreed:
                self._began = trio.current_time()
            self._contact.begin(trio.current_time())
            try:
                outcome = await self._attempt()
            except SendError as error:
                await self._recover(error, number)
            else:
                await self._forget()
                return self._receipt(outcome)
        raise AssertionError  # `count` has no end

    async def _recover(self, error: SendError, number: int) -> None:
        """Return when the attempt with the next number is to begin; else raise the error."""
        begun = self._source.metadata(self._key)
        if isinstance(error, DifferentError) and not self._differed:
            self._differed = True
            await self._begin_anew(f"{error} It is sent anew.", begun)
            return
        wait = self._wait(error)
        if wait is None:
            await self._give_up(error, begun)
            raise error
        self._watcher.retrying(number, wait, error)
        await trio.sleep(wait)
        before = self._source.stamp
        if await self._source.refresh() and not await self._is_unmodified(before):
            await self._begin_anew(changed_sentence(self._source.label), begun)

    async def _is_unmodified(self, before: FileStamp | None) -> bool:
        """Whether a file that had another stamp before still has the content that was sent.

        Then it keeps that stamp: the server knows the upload by it.
        """
        source = self._source
        now = source.stamp
        if not (before and now and before.size == now.size):
            return False
        if not self._sent or self._hash.lacks(self._sent):
            return False  # of what the server may have, this process has not read all
        try:
            if not await begins_with(source, *self._hash.state()):
                return False
        except SourceError:
            return False  # the next attempt raises it, if it remains
        source.stamp = before
        return True

    async def _attempt(self) -> Outcome:
        expected = (
            self._agreed
            and self._old_servers < OLD_SERVERS
            and self._failures < self._policy.retries
        )
        attempt = Attempt(
            key=self._key,
            begun=self._agreed,
            expected=expected,
            hash=self._hash,
            on_begun=self._on_begun,
            on_agreed=self._on_agreed,
            on_sent=self._on_sent,
        )
        if self._send_attempt:
            return await self._send_attempt(self._source, self._options, attempt)
        return await upload(self._address, self._source, self._options, attempt)

    def _on_begun(self) -> None:
        self._agreed = True

    async def _on_agreed(self, resumption: Resumption) -> None:
        offset, hashed = resumption.offset, self._hash.position
        if offset > self._reached or (self._unhashed is not None and hashed > self._unhashed):
            self._failures = 0
        self._reached = max(offset, self._reached)
        self._unhashed = hashed if self._hash.lacks(offset) else None
        self._old_servers = 0
        self._contact.accepted = self._agreed = True
        self._keep = resumption.keep
        self._sent = offset
        if self._resumed is None:
            self._resumed = offset
        if self._memory and self._key:
            self._remembered = await self._memory.remember(self._source, self._key)
        keep = resumption.keep if self._remembered else 0
        self._watcher.resumable(offset, self._source.size, keep)

    def _on_sent(self, sent: int) -> None:
        self._sent = sent
        seconds = trio.current_time() - self._began
        resumed = min(sent, self._resumed or 0)
        self._watcher.moved(Progress(sent, self._source.size, seconds, resumed))

    def _wait(self, error: SendError) -> float | None:
        """Seconds to wait after a failed attempt; None for no further one."""
        if self._only_resumed and not self._agreed:
            return None
        if isinstance(error, OldServerError):
            self._old_servers += 1
        self._failures += 1
        repeatable, now = self._source.repeatable, trio.current_time()
        return self._contact.wait(error, self._failures, repeatable, random.random, now=now)

    async def _begin_anew(self, why: str, begun: Metadata) -> None:
        self._note(why)
        await self._discard(begun)
        self._begin(None)

    async def _give_up(self, error: SendError, begun: Metadata) -> None:
        """Forget an upload that cannot go on; say how long the server keeps one that can."""
        if isinstance(error, SourceError | NonsenseError):
            await self._discard(begun)
        elif isinstance(error, RefusedError):
            if error.discarded and not error.transient:
                await self._forget()
        elif self._agreed and self._sent:
            error.kept = self._keep or None
        if error.kept:
            error.args = (f"{error} The server keeps what it has for {format_period(error.kept)}.",)

    async def _recall(self) -> None:
        if not self._memory:
            return
        key, changed = await self._memory.recall(self._source)
        if changed:
            self._agreed = True
            await self._begin_anew(changed_sentence(self._source.label), changed)
        if key:
            self._begin(key)

    async def _discard(self, begun: Metadata) -> None:
        if self._agreed:
            await abandon(self._address, begun, self._options)
        await self._forget()

    async def _forget(self) -> None:
        if self._memory:
            await self._memory.forget()

    def _note(self, sentence: str) -> None:
        if self._options.on_warning:
            self._options.on_warning({"error": sentence})

    def _receipt(self, outcome: Outcome) -> Receipt:
        source = self._source
        complete = not self._hash.lacks(source.size)
        hashes = self._hash.hashes() if complete else {}
        resumed = source.size if self._resumed is None else self._resumed
        return Receipt(
            name=source.name,
            stored_name=outcome.name or source.name,
            size=source.size,
            hashes=hashes,
            seconds=trio.current_time() - self._began,
            chunks=outcome.chunks,
            verified=bool(hashes),
            warnings=outcome.warnings,
            resumed=resumed if outcome.resumable else 0,
            path=outcome.path,
        )


def changed_sentence(label: str) -> str:
    """What is said of a file that has changed between two attempts."""
    return f"{label} has changed since it was begun; it is sent anew."
