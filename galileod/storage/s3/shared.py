"""What all uploads to the object storage share: client, ledger, memory and threads."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import trio
from attrs import field, frozen

from galileod.ledger.base import LedgerError, UncertainError
from galileod.ledger.lease import Lease, LeaseLostError, LeaseRunOutError
from galileod.ledger.objects import Objects
from galileod.ledger.outage import outlast
from galileod.ledger.unavailable import UnavailableError
from galileod.storage.errors import BadNameError, StorageBusyError, StorageError
from galileod.storage.workers import Workers

from .client import Client, Head
from .doubts import Doubts
from .memory import PartMemory
from .publishing import Publishing

T = TypeVar("T")

REQUESTS: Final = 32
"""Maximum requests at the same time that store data, and again that complete an upload."""

LOOKS: Final = 16
"""Maximum requests at the same time for what is stored already, or is removed."""

CHECKS: Final = 1
"""Maximum checks at the same time."""

TAILS: Final = 2
"""Maximum tails that are read at the same time: each is in memory twice for a moment."""

HASHERS: Final = 4
"""Maximum threads that copy and hash data."""

CONNECTIONS: Final = REQUESTS + LOOKS + CHECKS + TAILS
"""Connections that the client keeps."""

MAX_KEY: Final = 1024
"""Maximum bytes of a key."""

NUMBER: Final = 10
"""Bytes that a name may grow by if it is taken: ` (1000000)`."""

STATE: Final = ".galileod/"
"""What galileod keeps in the bucket beside the files is below this prefix."""

TAIL_KEYS: Final = f"{STATE}tails/"


@frozen
class Threads:
    """Limits for threads: what hangs holds up others of its kind alone. `hashers` are kept.

    Those of requests are abandoned when their callers are cancelled, and count until they end.
    """

    requests: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(REQUESTS))
    completers: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(REQUESTS))
    lookers: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(LOOKS))
    checkers: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(CHECKS))
    tails: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(TAILS))
    hashers: Workers = field(factory=lambda: Workers(HASHERS))


@frozen(eq=False)
class Shared:
    """What all uploads share. `prefix` precedes each key, and `location` is its URL.

    No request but that of a check is made while the `lease` is not valid.

    `late` are interrupted uploads of which parts, or the file, are still on their way.
    """

    client: Client
    objects: Objects
    memory: PartMemory
    prefix: str
    location: str
    threads: Threads = field(factory=Threads)
    late: set[str] = field(factory=set)
    publishing: Publishing = field(factory=Publishing)
    doubts: Doubts = field(factory=Doubts)
    lease: Lease = field(factory=Lease.endless)

    def key(self, name: str) -> str:
        """The key of a file."""
        return f"{self.prefix}{name}"

    def path(self, name: str) -> str:
        """The URL of a file, for the log."""
        return f"{self.location}/{name}"

    def check_name(self, path: str) -> None:
        """Raise BadNameError if the key of a file would be too long, or is not for files."""
        if len(self.key(path).encode()) + NUMBER > MAX_KEY:
            raise BadNameError(f"with the prefix, a name has at most {MAX_KEY - NUMBER} bytes")
        if path.startswith(STATE):
            raise BadNameError(f"{STATE} is for what galileod keeps beside the files")

    async def request(
        self, call: Callable[[], T], limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """Make a request in a thread, by default one of those that store data."""
        limiter = limiter or self.threads.requests
        leased = limiter is not self.threads.checkers

        def run() -> tuple[T] | None:
            # It may have waited long for the thread.
            return (call(),) if self.lease.is_valid() or not leased else None

        while True:
            if leased:
                await self._wait_valid()
            made = await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
            if made is not None:
                return made[0]

    async def record(self, step: Callable[[], Awaitable[T]]) -> T:
        """Carry out a step of the ledger for an upload that runs; it outlasts an outage.

        Raises StorageError.
        """
        with ledger_steps():
            return await outlast(self.lease, step)

    def silent(self) -> str:
        """Why a step has not ended in time."""
        if self.lease.is_valid():
            return "the object storage does not respond"
        return "the database does not renew the lease of this server"

    def not_published(self) -> StorageError:
        """The error of a file for whose publication nobody waits any more."""
        if self.lease.lost.fired:
            return StorageBusyError("another node has taken over the uploads of this one")
        if not self.lease.is_valid():
            return StorageBusyError(self.silent())
        return StorageError("the object storage does not answer in time")

    async def _wait_valid(self) -> None:
        try:
            await self.lease.wait_valid()
        except (LeaseLostError, LeaseRunOutError) as error:
            raise StorageBusyError(str(error)) from error

    async def publish(
        self, upload: str, call: Callable[[], T], limiter: trio.CapacityLimiter | None = None
    ) -> T:
        """Make the request that publishes the file of an upload.

        If this is cancelled while the request is on its way, the upload is late until it has ended.
        """
        begun = ended = cancelled = False

        def run() -> T:
            nonlocal begun, ended
            begun = True
            try:
                if cancelled:
                    raise StorageError("nobody waits for it any more")
                return call()
            finally:
                ended = True
                self.late.discard(upload)

        try:
            return await self.request(run, limiter)
        except trio.Cancelled:
            cancelled = True
            self.late.add(upload)
            if ended or not begun:  # in this order: the thread runs meanwhile
                self.late.discard(upload)
            raise

    async def compute(self, call: Callable[[], T]) -> T:
        """Copy or hash data in a thread; what has begun ends before this is cancelled."""
        results = list[T]()
        await self.threads.hashers.run(lambda: results.append(call()))
        return results[0]

    async def head(self, name: str, limiter: trio.CapacityLimiter | None = None) -> Head | None:
        """What the store knows of a file; None if there is none."""
        return await self.request(partial(self.client.head, self.key(name)), limiter)

    async def delete(self, key: str) -> None:
        """Remove an object of ours beside the files; what fails is left for the sweeper."""
        try:
            await self.request(partial(self.client.delete, key))
        except StorageError:
            pass  # the sweeper logs it if it fails as well


@contextmanager
def ledger_steps() -> Iterator[None]:
    """Turn a LedgerError into a StorageError: without the ledger, nothing can be stored."""
    try:
        yield
    except (LeaseLostError, UnavailableError, UncertainError) as error:
        raise StorageBusyError(error.reason, error.place) from error
    except LedgerError as error:
        raise StorageError(f"the ledger failed: {error.reason}", error.place) from error
