"""The sink of the S3 store: collects parts, sends them, and publishes the file.

A file of at most one part is one request at `commit`. A larger one is a multipart upload, which
begins with its first whole part.
"""

import hashlib
from collections.abc import Sequence
from functools import partial

import trio
from attrs import evolve

from galileod.ledger.objects import ObjectUpload
from galileod.storage.base import CLEANUP_SECONDS, RUNNING_HASH, SUSPEND_SECONDS, Sink, Stored
from galileod.storage.errors import StorageError, UnsupportedHashError

from .buffers import Buffer, Buffers
from .claims import Target, begin_publishing, claim, claim_free
from .errors import NoSuchUploadError
from .parts import Parts
from .publish import complete, put
from .removal import remove
from .sha1 import Sha1
from .shared import Shared
from .tail import keep_tail, read_tail


class S3Sink(Sink):
    """The file of the upload `known`, new or interrupted, that is to become `target`.

    `size` is what it will have in bytes, None: not known. If `known` is completing, it was
    published already.
    """

    promised = True

    def __init__(
        self, shared: Shared, target: Target, known: ObjectUpload, size: int | None
    ) -> None:
        self.replaces = target.replaces
        self._shared = shared
        self._target = target
        self._known = known
        self._size = size
        self._one_part = size is not None and size <= known.part_size
        length = size if size is not None and self._one_part else known.part_size
        self._buffers = Buffers(shared.memory, length)
        self._buffer: Buffer | None = None
        self._parts: Parts | None = None
        if known.multipart is not None and known.name is not None:
            self._parts = Parts(shared, known.upload, known.name, known.multipart, known.parts)
        self._tail = known.tail
        self._offset = known.offset
        last = known.tail or (known.parts[-1] if known.parts else None)
        self._hash = Sha1(last.state if last else None)
        self._ready = False
        self._open = True
        self._lost = False

    @property
    def offset(self) -> int:
        """The bytes that were written; after `suspend`, those that are kept."""
        return self._offset

    @property
    def check(self) -> str:
        """The running hash, which goes on where it was."""
        return self._hash.hexdigest()

    async def catch_up(self) -> None:
        """There is nothing to read back."""
        await trio.lowlevel.checkpoint_if_cancelled()

    async def make_ready(self, owner: str = "") -> None:
        """Wait for the first buffer, and read the tail into it."""
        if self._ready:
            return
        if self._tail or self._one_part or self._size is None or self._offset < self._size:
            buffer = await self._buffers.wait(owner)
            try:
                if self._tail is not None:
                    before = self._known.parts[-1].state if self._known.parts else None
                    buffer.put(await read_tail(self._shared, self._tail, before))
            except BaseException:
                self._buffers.give_back(buffer)
                raise
            self._buffer = buffer
        self._ready = True

    async def checkpoint(self) -> int:
        """Does nothing: a part is durable once it is in the ledger. Returns what is."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._kept

    async def suspend(self) -> int:
        """Wait for parts on their way, and store the tail."""
        self._check_open()
        reason, place = "", ""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(SUSPEND_SECONDS):
                try:
                    await self._keep_rest()
                except StorageError as error:
                    reason, place = error.reason, error.place  # what was stored before is kept
            if self._parts is not None:
                await self._parts.seal()
                self._lost = self._lost or self._parts.lost
        if self._lost or (self._offset and not self._kept):
            reason = reason or self._shared.silent()
            raise StorageError(f"cannot suspend the file: {reason}", place)
        self._close()
        self._offset = self._kept
        return self._offset

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Copy into buffers and hash, in a thread; send the parts that are full."""
        self._check_open()
        if self._parts is not None:
            self._parts.check()
        await self.make_ready()
        begin, at = 0, 0
        while begin < len(pieces):
            buffer = await self._writable()
            before = buffer.length
            fill = partial(buffer.fill, pieces[begin:], at, self._hash)
            fitting, at = await self._shared.compute(fill)
            begin += fitting
            self._offset += buffer.length - before
        if self._buffer is not None and self._buffer.full and not self._one_part:
            await self._send_part(self._buffer)

    async def digest(self, kind: str) -> str:
        """Return the running hash; any other is computed of a file of one part alone."""
        if kind == RUNNING_HASH:
            return self.check
        await self.make_ready()
        if self._parts is not None or self._buffer is None:
            raise UnsupportedHashError(f"{kind} is not computed of a file that is stored in parts")
        return await self._shared.compute(partial(_hash, kind, self._buffer))

    @property
    def identity(self) -> str:
        """The upload, which the metadata of the object has."""
        return self._known.upload

    async def prepare(self) -> None:
        """Send the last part, and wait for all."""
        self._check_open()
        await self.make_ready()
        if self._parts is None:
            return
        if self._buffer is not None and self._buffer.length:
            await self._send_part(self._buffer)
        await self._parts.wait_all()
        self._parts.check()

    async def commit(self) -> Stored:
        """Complete the parts, or store the file in one request; look whether it is there."""
        await self.prepare()
        with self._shared.publishing.bounded(self._shared.lease.lost):
            try:
                name = await self._publish()
            except NoSuchUploadError:
                self._lost = True
                raise
            self._close()
            if self._tail is not None and self._parts is None:  # else a part has its bytes
                with trio.move_on_after(CLEANUP_SECONDS):
                    await self._shared.delete(self._tail.key)
            return Stored(name, self._shared.path(name), self.identity)
        raise self._shared.not_published()

    async def discard(self) -> None:
        """Abort the parts, and forget the upload."""
        if not self._open:
            return
        self._close()
        with trio.CancelScope(shield=True):
            if self._parts is not None:
                await self._parts.seal()
            await remove(self._shared, self._known.upload)

    @property
    def _kept(self) -> int:
        """The bytes that `reopen` would find."""
        tail = self._tail.offset + self._tail.length if self._tail else 0
        return max(tail, self._parts.end if self._parts else 0)

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("the file was suspended, stored or discarded")

    def _close(self) -> None:
        self._open = False
        self._buffers.close()
        if self._buffer is not None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    async def _writable(self) -> Buffer:
        """A buffer with room."""
        if self._buffer is not None and self._buffer.full:
            if self._one_part:
                raise StorageError("more data came than the file was to have")
            await self._send_part(self._buffer)
        while self._buffer is None:
            self._buffer = self._buffers.take()
            if self._buffer is None and self._parts is not None:
                await self._parts.wait_one()  # of its own: so they all go on
        return self._buffer

    async def _send_part(self, buffer: Buffer) -> None:
        if self._parts is None:
            self._parts = await self._begin_parts()
        self._parts.send(buffer, self._hash.state(), self._buffers.give_back)
        self._buffer = None

    async def _begin_parts(self) -> Parts:
        target = evolve(self._target, modified=self.modified)
        name = await claim_free(self._shared, target)
        create = partial(self._shared.client.create, self._shared.key(name), target.metadata())
        multipart = await self._shared.request(create)
        await self._shared.record(
            partial(self._shared.objects.created, self._known.upload, multipart)
        )
        return Parts(self._shared, self._known.upload, name, multipart)

    async def _keep_rest(self) -> None:
        """Wait for parts on their way, and store what makes no whole part yet."""
        if self._parts is not None:
            await self._parts.wait_all()
            self._parts.check()
        if self._buffer is not None and self._offset > self._kept:
            self._tail = await keep_tail(
                self._shared,
                self._known.upload,
                self._offset - self._buffer.length,
                self._buffer.content,
                self._hash.state(),
            )

    async def _publish(self) -> str:
        shared, upload = self._shared, self._known.upload
        if self._known.completing and self._known.name is not None:
            return self._known.name
        if self._parts is not None:
            await complete(shared, upload, self._parts)
            return self._parts.name
        target = evolve(self._target, modified=self.modified)
        name = await claim(shared, target)
        await begin_publishing(shared, upload)
        content = self._buffer.content if self._buffer else b""
        return await put(shared, target, name, content, self.check)


def _hash(kind: str, buffer: Buffer) -> str:
    return hashlib.new(kind, buffer.content, usedforsecurity=False).hexdigest()
