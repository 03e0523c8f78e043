"""The contract of a storage backend: a store creates sinks, and a sink receives one file."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, Self

import trio
from attrs import frozen

from galileod.policy.publication import Durability, OnConflict

from .errors import StorageError
from .finished import Found, Progress, Recovered, Removed, Space, Standing, ignore_progress
from .settings import Storage
from .whole import WholeFile, Written

RUNNING_HASH: Final = "sha1"
"""The hash that is computed while data arrives: the one of the original protocol."""

SUSPEND_SECONDS: Final = 30.0
"""Maximum seconds for `suspend`, whose fsync may be slow."""

CLEANUP_SECONDS: Final = 5.0
"""Maximum seconds for `discard`; a file that it cannot remove is removed at the next start."""


@frozen
class Stored:
    """A committed file: its final `name`, relative to the store, and its full `path` for the log.

    `name` consists of the folders and the file name, joined by slashes, as the storage lists them.
    `identity` is that of its sink. `made` are folders that were made for it, outermost first;
    several files may have the same.
    """

    name: str
    path: str
    identity: str
    made: tuple[str, ...] = ()


class Sink(ABC):
    """Receives the bytes of one file, which is not visible before `commit`, and complete after it.

    The steps are `write` for each part, `prepare`, `commit`. Leaving its `async with` discards a
    file that was neither committed nor suspended. Every method but `discard` may raise
    StorageError. `replaces` tells whether `commit` replaces a file of the same name. `modified` is
    the modification time that the file is to get, in nanoseconds since 1970, None: when it was
    written; to be set before the first `write`, or if the store can still use it before `prepare`.
    `promised`: the ledger must have the promise of what is published, or a crash loses the file.
    """

    replaces: bool
    modified: int | None = None
    promised: bool = False

    @property
    @abstractmethod
    def offset(self) -> int:
        """The number of bytes of the file that the sink has, also after a failed `write`."""

    @property
    @abstractmethod
    def check(self) -> str | None:
        """The running hash of the first `offset` bytes; None if they would have to be read back."""

    @abstractmethod
    async def catch_up(self) -> None:
        """Read back what the running hash does not cover yet, as after `Store.reopen`.

        Runs beside `write`, and may be cancelled. Returns at once if there is nothing to read.
        `digest` waits for what is left.
        """

    async def make_ready(self, owner: str = "") -> None:  # noqa: ARG002  of others
        """Wait until there is memory for data, which then does not have to wait in `write`.

        Until then no data should be asked for. The files of an `owner` leave memory for others.
        """
        await trio.lowlevel.checkpoint_if_cancelled()

    @abstractmethod
    async def checkpoint(self) -> int:
        """Make what was written durable; returns how many bytes now survive a power failure.

        They are fewer than were written if the store keeps whole parts only. 0 if
        `storage.durability` was "none" when the file was created. Runs beside `write`. If it
        raises, the data is lost, and `suspend` raises as well.
        """

    @abstractmethod
    async def suspend(self) -> int:
        """Keep the file for `Store.reopen`, as durable as after `checkpoint`; returns the same.

        `offset` is what is kept then: less than before if a part could not be stored. Takes at most
        SUSPEND_SECONDS, and works in a cancelled scope. If it raises, the file cannot be continued,
        and is discarded at the end of the `async with`.
        """

    @abstractmethod
    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces in order, and update the running hash."""

    @abstractmethod
    async def digest(self, kind: str) -> str:
        """The hash of all bytes written, in lower-case hex. `kind` is a hash name of hashlib.

        Raises UnsupportedHashError for another kind than RUNNING_HASH, if it cannot be computed.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """An opaque string by which the file is found once it is published.

        `Store.scan` and `Store.look` know it. Final once `prepare` has returned.
        """

    @abstractmethod
    async def prepare(self) -> None:
        """Do all that takes long before the file is published: make its contents durable.

        Called once, after the last `write`. If it is not called, `commit` does the same.
        """

    @abstractmethod
    async def commit(self) -> Stored:
        """Publish the file. When this returns, it is as durable as `storage.durability` says.

        Raises ConflictError if the name exists and must not be replaced, and BadNameError.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Remove the file within CLEANUP_SECONDS, unless it was committed.

        Works in a cancelled scope too, and never raises StorageError.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.discard()


@frozen(eq=False)
class WrittenSink(Written):
    """A file that was written by way of a sink."""

    sink: Sink


class Store(ABC):
    """Keeps finished files. Every method but `reconfigure` and `close` may raise StorageError.

    `location` is the absolute path or the URL below which the files are, for the log and the hook,
    whose commands run in `directory`. `home` is the same for the ledger, and "" for a directory of
    this machine, which may be moved with its ledger. `remote`: a restart does not help if it hangs.
    `part_size` is the number of bytes that one call of `Sink.write` should have. `claims_names`: a
    name belongs to one upload before its file is published, unless it replaces another; so only
    what is done to files of the same name must be kept apart.
    """

    location: str
    part_size: int
    claims_names: bool = False
    walks_in_order: bool = False
    remote: bool = False
    home: str = ""

    @property
    def directory(self) -> str:
        """A directory of this machine; by default, that with the files."""
        return self.location

    @abstractmethod
    async def create(
        self,
        upload: str,
        path: str,
        on_conflict: OnConflict | None = None,
        durability: Durability | None = None,
        size: int | None = None,
    ) -> Sink:
        """Create the sink of a file that is to be published at `path`.

        `path` is a valid file name, after any valid folder names with slashes. `upload` is unique
        among running uploads. `on_conflict` and `durability` are by default those of the settings;
        a later `reconfigure` does not affect the file. `size` is that of the whole file in bytes;
        None: it is not known. What can be found out fails here, before any data is received: raises
        ConflictError if the name exists and must not be replaced or a folder cannot be one,
        BadNameError if the name is not accepted, and StorageError if no file can be stored there.
        """

    async def write_whole(self, files: Sequence[WholeFile]) -> Sequence[Written | StorageError]:
        """Write files that are complete, as `create`, `write`, `digest` and `prepare` do.

        Returns one result for each file, in order; a failure affects no other file. The files are
        to be given to `publish_whole` or to `discard_whole`. If this raises, nothing is left.
        """
        results: list[Written | StorageError] = []
        try:
            for file in files:
                result = await self._write_one(file)
                results.append(result)
        except BaseException:
            await self.discard_whole([one for one in results if isinstance(one, Written)])
            raise
        return results

    async def publish_whole(self, written: Sequence[Written]) -> Sequence[Stored | StorageError]:
        """Publish files of `write_whole`, as `Sink.commit` does; each once.

        Returns one result for each file, in order. A file that fails affects no other, and is
        discarded. Can be cancelled only before the first is published.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        results: list[Stored | StorageError] = []
        with trio.CancelScope(shield=True):  # what was published must be reported
            results += [await _publish_one(_sink(one)) for one in written]
        return results

    async def discard_whole(self, written: Sequence[Written]) -> None:
        """Remove files of `write_whole` that were not published, within CLEANUP_SECONDS each.

        Works in a cancelled scope too, and never raises StorageError. May be repeated.
        """
        for one in written:
            await _sink(one).discard()

    @abstractmethod
    async def reopen(
        self, upload: str, path: str, on_conflict: OnConflict, durability: Durability
    ) -> Sink:
        """Continue the file of a suspended upload, also after a restart.

        `path`, `on_conflict` and `durability` are those with which it was created. Raises
        MissingError if the file is gone, was published, or cannot be continued; other errors are
        those of `create`, and leave it.
        """

    @abstractmethod
    async def drop(self, upload: str) -> None:
        """Remove the file of a suspended upload, if there is one. Never raises StorageError."""

    @abstractmethod
    def recover(
        self,
        trusted: Mapping[str, int | None],
        step: Callable[[], None] = lambda: None,
        spared: Collection[str] = (),
        claimed: Collection[str] = (),
        *,
        running: bool = False,
    ) -> Mapping[str, Recovered]:
        """Find what is left of the uploads that an earlier process had begun; remove the rest.

        `trusted` maps each upload to the number of bytes that are certain, None for all that stands
        in its file. Returns those whose file exists: with an `offset` of at most that number, or of
        more if the store knows it to be certain, and for a published file with its identity. `step`
        is called repeatedly. Blocks; called once, before `scan` and any `create`.

        Where nodes share a ledger, `spared` are its uploads that are not of this node. `claimed` of
        `trusted` can be continued by no other, nor published. If uploads are `running`, all else
        stays. What cannot be used has the offset 0, perhaps another name, and stays until `drop`:
        else a new file could get the promised identity before the ledger has forgotten it.
        """

    @abstractmethod
    def make_space(self) -> bool:
        """If hardly any space is left, remove the oldest interrupted upload.

        Returns whether one was removed. Blocks; called only at startup, if the ledger fails.
        """

    @abstractmethod
    async def free(self) -> int | None:
        """The free space in bytes; None if the store has no limit that it could report."""

    async def free_at(self, path: str) -> Space | None:
        """The free space for a file at `path`; None if there is no limit that could be reported."""
        del path  # a store with several limits overrides this
        free = await self.free()
        return None if free is None else Space(self.location, free)

    async def admit(self, path: str, on_conflict: OnConflict) -> Space | None:
        """`free_at`, and what can be found out of what `create` would raise; creates no file."""
        del on_conflict  # a store that can tell at little cost overrides this
        return await self.free_at(path)

    async def admit_all(
        self, paths: Sequence[str], on_conflict: OnConflict
    ) -> Sequence[Space | StorageError | None]:
        """`admit` for several files: what it returns or raises for each of them, in order."""
        results: list[Space | StorageError | None] = []
        for path in paths:
            try:
                results.append(await self.admit(path, on_conflict))
            except StorageError as error:
                results.append(error)
        return results

    @abstractmethod
    async def check(self) -> None:
        """Raise StorageError if files cannot be stored now."""

    @abstractmethod
    def scan(
        self,
        identities: Collection[str] = (),
        progress: Progress = ignore_progress,
        undated: Collection[str] = (),
    ) -> Found:
        """Find the finished files, which of them have one of `identities`, and the times of some.

        `undated` are the names of files whose last modification is wanted. Each identity is from a
        sink of this store, possibly of an earlier process. Blocks; called only at startup.
        """

    @abstractmethod
    def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        """The finished files, `count` at a time, while others come and go; must be closed.

        With `walks_in_order`, they are sorted by name, and with their sizes in bytes, but may be
        out of date. Else the sizes are None.
        """

    @abstractmethod
    async def look(self, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
        """The finished files with these names, as `scan` has them; None where no regular file is.

        A failure to look at one is in its place. No link is followed.
        """

    @abstractmethod
    async def remove(
        self, names: Sequence[str], folders: Sequence[str] = ()
    ) -> Sequence[Removed | StorageError]:
        """Remove finished files, and then those of the `folders` that are empty.

        Returns one result for each name, which is durable; a failure affects no other file. Only
        regular files are removed, and no link is followed.
        """

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Let no other node replace or remove files in the block. Raises StorageError."""
        return nullcontext()

    @abstractmethod
    def reconfigure(self, settings: Storage) -> None:
        """Use `settings` for the files that are created from now on."""

    async def maintain(self, keep: Callable[[], float]) -> None:  # noqa: ARG002  of others
        """Remove what failures have left, until cancelled; uploads are kept `keep()` seconds."""
        await trio.lowlevel.checkpoint_if_cancelled()

    def hurry(self, seconds: float) -> None:  # noqa: B027  not all need it
        """Have files that are being published fail if that takes more than so many seconds yet.

        For the end of the process, and only where the next start finds out what became of them.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the store. Blocks; no sink may be used afterwards."""

    async def _write_one(self, one: WholeFile) -> Written | StorageError:
        size = sum(map(len, one.pieces))
        try:
            sink = await self.create(one.upload, one.path, one.on_conflict, one.durability, size)
        except StorageError as error:
            return error
        try:
            sink.modified = one.modified
            await sink.write(one.pieces)
            digests = {kind: await sink.digest(kind) for kind in {RUNNING_HASH, *one.kinds}}
            await sink.prepare()
            return WrittenSink(digests, sink.identity, sink.replaces, sink, promised=sink.promised)
        except BaseException as error:
            await sink.discard()
            if isinstance(error, StorageError):
                return error
            raise


async def _publish_one(sink: Sink) -> Stored | StorageError:
    async with sink:
        try:
            return await sink.commit()
        except StorageError as error:
            return error


def _sink(written: Written) -> Sink:
    """The sink of a file that `Store.write_whole` has written."""
    if not isinstance(written, WrittenSink):
        raise TypeError("the file was written by another store")
    return written.sink
