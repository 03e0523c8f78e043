"""Sends files one after the other, on one connection at a time."""

import heapq
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Final

import trio
from attrs import evolve

from galileod.protocol.files_sender import FilesSender
from galileod.protocol.messages import Metadata

from .errors import LostError, SendError
from .options import Options, Progress, Receipt
from .remembered import remembered
from .session import Session, hold_session
from .small_files import SmallFile, read_small_files
from .sources import Source
from .transfer import KEY_BYTES, Transfer, Watcher, changed_sentence
from .unmodified import begins_with
from .upload import REASON_TIMEOUT, Attempt, Outcome, Upload
from .whole import Whole
from .work import Entry, Work, is_small

MAX_FILES: Final = 64
"""Maximum small files that are read and sent at once."""

MAX_BYTES: Final = 1024 * 1024
"""Maximum bytes of small files that are read and sent at once. A larger file is sent alone."""

MAX_UNANSWERED: Final = 64
"""Maximum files in all lanes that were sent alone and have no answer: each is an open file."""


async def send_all(work: Work, connections: int, session: Session | None = None) -> None:
    """Send all items of `work` on as many connections; returns when each was stored or failed.

    `session` is one of them that is open already.
    """
    unanswered = max(1, MAX_UNANSWERED // connections)
    async with trio.open_nursery() as nursery:
        for number in range(connections):
            lane = Lane(work, nursery, unanswered, None if number else session)
            nursery.start_soon(lane.run)


class Lane:
    """Takes items and sends them, on one connection after the other.

    If the server agrees to `next`, a connection has many files: the small ones are sent in batches,
    each larger one by a task of its own. Otherwise it has one.
    """

    def __init__(
        self,
        work: Work,
        nursery: trio.Nursery,
        unanswered: int,
        session: Session | None = None,
    ) -> None:
        """At most `unanswered` files that are sent alone have no answer."""
        self._work = work
        self._nursery = nursery
        self._unanswered = unanswered
        self._session = session
        self._turn = trio.Lock()  # of the file that is being sent
        self._again: list[tuple[float, int, Entry]] = []  # a heap of what is to be sent again
        self._order = count()
        self._alone = 0  # files that are sent alone
        self._woken: trio.Event | None = None

    async def run(self) -> None:
        """Take items until none is left, and nothing is without an answer."""
        while entry := await self._next():
            if self._work.server_error:
                self._work.failed(entry, self._work.server_error)
            elif session := self._session_for(entry):
                await self._send_small(session, entry)
            else:
                await self._send_alone(entry)
        await self._close()

    async def _next(self) -> Entry | None:
        while True:
            if entry := self._take_again():
                return entry
            if entry := await self._work.take():
                return entry
            if not (self._again or self._alone or (self._session and self._session.waits)):
                return None
            due = self._again[0][0] if self._again else float("inf")
            with trio.move_on_at(due):
                await self._changed()

    def _take_again(self, most: int | None = None) -> Entry | None:
        """The next entry that is due; with `most`, if it is a file of at most so many bytes."""
        if not self._again or self._again[0][0] > trio.current_time():
            return None
        if most is not None and not is_small(self._again[0][2].item, most):
            return None
        return heapq.heappop(self._again)[2]

    def send_again(self, entry: Entry, wait: float = 0.0) -> None:
        """Send an entry again after so many seconds."""
        heapq.heappush(self._again, (trio.current_time() + wait, next(self._order), entry))
        self.wake()

    def wake(self) -> None:
        """Look for something to do: something has changed."""
        if self._woken is not None:
            self._woken.set()
            self._woken = None

    async def _changed(self) -> None:
        if self._woken is None:
            self._woken = trio.Event()
        await self._woken.wait()

    # Small files

    def _session_for(self, entry: Entry) -> Session | None:
        """The session on which the file can be sent in one go, with others; None if it cannot."""
        session, size = self._session, entry.item.size
        if session is None or session.core is None or not session.takes_more:
            return None
        small = is_small(entry.item, MAX_BYTES) and session.core.is_whole(size or 0)
        return session if small else None

    async def _send_small(self, session: Session, entry: Entry) -> None:
        """Send a small file, and others that follow it."""
        async with self._turn:
            entries = [entry]
            if core := await self._room(session, entry.item.size or 0):
                self._take_more(core, entries)
            with session.websocket.idle.paused():
                files = await self._read(entries, session)
            alone, frames = [], list[bytes]()
            for one, file in zip(entries, files, strict=True):
                if core is None or not session.takes_more:
                    self.send_again(one)
                elif file is None or not core.is_whole(n := len(file.data)) or not core.fits(n):
                    alone.append(one)
                else:
                    frames += self._frames(session, one, file)
            await self._send_frames(session, b"".join(frames))
        for one in alone:
            await self._send_alone(one)

    async def _room(self, session: Session, size: int) -> FilesSender | None:
        """Wait for room for a file of this size, and for a batch; None if there will be none."""
        while session.core and session.core.limits and session.takes_more:
            core, limits = session.core, session.core.limits
            # With room for one file only, each answer would cost a thread call and a send.
            batch = core.places >= min(MAX_FILES, (limits.next + 1) // 2)
            batch = batch and core.room >= min(MAX_BYTES, limits.room // 2)
            if core.fits(size) and (batch or not session.waits):
                return core
            await session.changed()
        return None

    def _take_more(self, core: FilesSender, entries: list[Entry]) -> None:
        """Add the small files that follow, up to the limits."""
        whole = core.limits.whole if core.limits else 0
        left = min(MAX_BYTES, core.room) - (entries[0].item.size or 0)
        while len(entries) < min(MAX_FILES, core.places):
            entry = self._take_again(min(left, whole)) or self._work.take_small(min(left, whole))
            if entry is None:
                return
            left -= entry.item.size or 0
            entries.append(entry)

    async def _read(self, entries: Sequence[Entry], session: Session) -> Sequence[SmallFile | None]:
        if not session.takes_more:
            return [None] * len(entries)
        paths = [entry.item.path or "" for entry in entries]
        kind = self._work.options.hash
        return await trio.to_thread.run_sync(read_small_files, paths, kind, MAX_BYTES)

    def _frames(self, session: Session, entry: Entry, file: SmallFile) -> list[bytes]:
        """The frames of a file that is begun."""
        if entry.key and entry.stamp and file.claim and entry.claim == file.claim:
            file = evolve(file, stamp=entry.stamp)  # it may have been touched since
        if entry.key and entry.stamp != file.stamp:
            entry.item.warned({"error": changed_sentence(entry.item.path or "")})
            entry.key = None
        if self._work.options.resume and not entry.key:
            entry.key, entry.stamp = os.urandom(KEY_BYTES).hex(), file.stamp
            entry.claim = file.claim
        item = entry.item
        modified = file.stamp.modified if item.modified is None else item.modified
        metadata = Metadata(
            item.name, len(file.data), folder=item.folder, modified=modified, upload=entry.key
        )
        entry.attempts += 1
        item.started_whole(entry.attempts)
        sending = Whole(self._work, self, session, entry, len(file.data), file.claim)
        return session.whole(metadata, file.claim, file.data, sending)

    async def _send_frames(self, session: Session, frames: bytes) -> None:
        try:
            await session.websocket.send_frames(frames, self._work.options.pace)
        except LostError as error:
            # The server may have sent the reason before it stopped reading.
            with trio.move_on_after(REASON_TIMEOUT):
                while not session.ended:
                    await session.changed()
            if not session.ended:
                session.lose(error)

    # Files that are sent alone

    async def _send_alone(self, entry: Entry) -> None:
        """Begin to send a file; returns when the next one may be sent."""
        while self._alone >= self._unanswered:
            await self._changed()
        self._alone += 1
        await self._nursery.start(self._transfer, entry)

    async def _transfer(
        self, entry: Entry, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                task_status.started()

        try:
            receipt = await self._transferred(entry, release)
        except SendError as error:
            self._work.failed(entry, error)
        except BaseException:
            entry.item.interrupted()
            raise
        else:
            self._work.stored(entry, receipt)
        self._alone -= 1
        release()
        self.wake()

    async def _transferred(self, entry: Entry, release: Callable[[], None]) -> Receipt:
        work = self._work
        options = evolve(work.options, on_warning=entry.item.warned)
        async with entry.item.opened() as source:
            with remembered(work.state, work.address, source, options) as memory:
                if entry.key and entry.stamp != source.stamp:
                    await self._compare(entry, source)
                transfer = Transfer(
                    work.address, source, options, work.policy, _Watch(work, entry), memory,
                    send_attempt=partial(self._attempt, release), only_resumed=work.only_resumed,
                    key=entry.key, attempts=entry.attempts, contact=work.contact,
                )  # fmt: skip
                return await transfer.run()

    async def _compare(self, entry: Entry, source: Source) -> None:
        """Give up the upload of a small file that was begun, unless its content is the same."""
        claim = entry.claim
        sent = {claim.type: claim.value} if claim else {}
        same_size = entry.stamp is not None and entry.stamp.size == source.size
        if same_size and await begins_with(source, source.size, sent):
            source.stamp = entry.stamp
        else:
            entry.item.warned({"error": changed_sentence(source.label)})
            entry.key = None

    async def _attempt(
        self, release: Callable[[], None], source: Source, options: Options, attempt: Attempt
    ) -> Outcome:
        """Send a file once. The next one may follow behind its last byte, or its answer."""
        more = self._work.more or bool(self._again) or self._alone > 1
        one = Upload(source, options, attempt, with_next=more)
        with one.errors_translated():
            async with self._turn:
                session = await self._session_with_room(source.size)
                try:
                    await one.send(session)
                    if not session.has_next:
                        await one.ended()
                except BaseException:
                    session.broken = session.broken or not session.has_next
                    raise
                finally:
                    if not session.has_next:
                        await self._close()
            release()
            await one.ended()
            return one.outcome()

    async def _session_with_room(self, size: int) -> Session:
        while True:
            session = self._session
            if session is None:
                work = self._work
                hold = partial(hold_session, work.address, work.options)
                self._session = await self._nursery.start(hold)
                work.contact.accepted = True
            elif session.fits(size):
                return session
            elif session.takes_more:
                await session.changed()
            else:
                await session.drained()
                await self._close()

    async def _close(self) -> None:
        """Close the connection, with a Close frame unless it is broken."""
        if session := self._session:
            self._session = None
            session.closing.set()
            await session.closed.wait()


class _Watch(Watcher):
    """Passes on to the item what happens to it."""

    def __init__(self, work: Work, entry: Entry) -> None:
        self._work = work
        self._entry = entry

    def started(self, attempt: int) -> None:
        if self._work.server_error:
            raise self._work.server_error
        self._entry.attempts = attempt
        self._entry.item.started(attempt)

    def resumable(self, offset: int, size: int, keep: int) -> None:
        self._entry.item.resumable(offset, size, keep)

    def moved(self, progress: Progress) -> None:
        self._work.moved(self._entry, progress)

    def retrying(self, attempt: int, wait: float, error: SendError) -> None:
        self._entry.item.retrying(attempt, wait, error)
