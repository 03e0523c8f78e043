"""Stored files in a directory, with their ledger, and all that works on both after an upload."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import structlog
import trio
from attrs import define, evolve, field
from helpers.clocks import FakeClock
from helpers.local_store import listed, open_local

from galileod.auth.grant import Grant
from galileod.config.model import Config
from galileod.files.check import Checker, Rescanned
from galileod.files.publication import PublicationLock
from galileod.files.quota_check import QuotaCheck
from galileod.files.removal import Outcome, Remover
from galileod.files.rescan import Rescanner
from galileod.files.retention import Retention
from galileod.ledger.base import Ledger
from galileod.ledger.records import FileEntry, Selection
from galileod.ledger.sqlite import SqliteLedger
from galileod.metrics import Metrics
from galileod.policy.publication import OnConflict
from galileod.policy.settings import Quota
from galileod.protocol.messages import Metadata
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage
from galileod.units import Duration, Size
from galileod.uploads.admission import Admission
from galileod.uploads.keeper import Keeper
from galileod.uploads.reservation import Reservation
from galileod.uploads.upload import Upload, about

LOG = structlog.get_logger()
SHA1 = "a9993e364706816aba3e25717850c26c9cd0d89d"


class OrderedStore(LocalStore):
    """Lists its files in order, with their sizes, as object storage does.

    `outdated` is what the listing has instead: the sizes of some files, None for one that it does
    not have.
    """

    walks_in_order = True
    outdated: Mapping[str, int | None] = MappingProxyType({})

    async def walk(self, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
        await trio.lowlevel.checkpoint()
        sizes = {**listed(self), **self.outdated}
        names = sorted(name for name, size in sizes.items() if size is not None)
        for first in range(0, len(names), count):
            yield {name: sizes[name] for name in names[first : first + count]}


@define(eq=False)
class StoredFiles:
    """A directory in which files are stored; `retention` is `storage.retention`.

    `told` are the files whose removal the hook is told, with the reason.
    """

    directory: Path
    kind: type[LocalStore] = LocalStore
    clock: FakeClock = field(factory=FakeClock)
    retention: float | None = None
    told: list[tuple[str, str]] = field(factory=list)
    uploads: int = 0
    store: LocalStore = field(init=False)
    ledger: Ledger = field(init=False)
    publication: PublicationLock = field(init=False)
    checker: Checker = field(init=False)
    quota_check: QuotaCheck = field(init=False)
    keeper: Keeper = field(init=False)
    remover: Remover = field(init=False)
    rescanner: Rescanner = field(init=False)
    retention_task: Retention = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Open store and ledger, and make them agree, as the daemon does."""
        self.store = open_local(self.directory, durability="none", kind=self.kind)
        self.ledger = SqliteLedger.open(
            str(self.directory / ".galileod" / "ledger.sqlite3"), self.clock, boot="boot"
        )
        found = self.store.scan(self.ledger.promised(), undated=self.ledger.undated())
        self.ledger.reconcile(found.sizes, found.names, modified=found.modified)
        self.publication = PublicationLock()
        self.checker = Checker(self.store, self.ledger, self.publication)
        self.quota_check = QuotaCheck(self.ledger, self.checker)
        self.keeper = Keeper(self.store, self.ledger, self.publication, Metrics())
        self.remover = Remover(
            self.store,
            self.ledger,
            self.publication,
            Metrics(),
            self._receipt,
            uncommitted=lambda: self.keeper.uncommitted,
        )
        self.rescanner = Rescanner(self.store, self.ledger, self.checker)
        self.retention_task = Retention(self.ledger, self.remover, lambda: self.retention)

    def stop(self) -> None:
        """Close both; what was not committed is lost, as in a crash."""
        self.ledger.close()
        self.store.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _receipt(self, entry: FileEntry, reason: str) -> str:
        self.told.append((entry.name, reason))
        return "{}"

    @asynccontextmanager
    async def admitted(
        self,
        user: str,
        name: str,
        size: int,
        quota: Quota = Quota(),  # noqa: B008  it is frozen
        retention: float | None = None,
        on_conflict: OnConflict = "rename",
    ) -> AsyncIterator[Reservation]:
        """An upload that was admitted, for the block."""
        storage = Storage(directory=str(self.directory), min_free=Size(0), on_conflict=on_conflict)
        config = evolve(Config(), storage=storage, quota=quota)
        self.uploads += 1
        metadata = Metadata(name, size)
        grant = Grant(user, retention=None if retention is None else Duration(retention))
        upload = Upload(
            f"u{self.uploads}", metadata, grant, config, name, LOG, about(metadata, grant)
        )
        admission = Admission(
            self.store, self.ledger, self.keeper, lambda: config, self.quota_check
        )
        async with admission.admit(upload, lambda: 0) as reservation:
            yield reservation

    async def upload(
        self,
        user: str,
        name: str,
        size: int = 10,
        quota: Quota = Quota(),  # noqa: B008  it is frozen
        retention: float | None = None,
        on_conflict: OnConflict = "rename",
    ) -> str:
        """Store a file; returns its name."""
        async with (
            self.admitted(user, name, size, quota, retention, on_conflict) as reservation,
            await self.store.create(reservation.upload.id, name, on_conflict) as sink,
        ):
            await sink.write([bytes(size)])
            async with self.publication.hold([], replaces=sink.replaces):
                stored = await sink.commit()
                await reservation.commit(stored, SHA1)
        return stored.name

    async def rescan(self) -> Rescanned:
        """The last step of a rescan."""
        *_, last = [done async for done in self.rescanner.rescan()]
        return last

    async def remove_expired(self) -> None:
        await self.retention_task.remove_expired()

    def entries(self, selection: Selection = Selection()) -> list[FileEntry]:  # noqa: B008  frozen
        return list(self.ledger.files(selection))

    def records(self) -> dict[str, tuple[str, int]]:
        """User and size of each file in the ledger."""
        return {each.name: (each.user, each.size) for each in self.entries()}

    def on_disk(self) -> dict[str, int]:
        """The size of each file."""
        return {
            str(path.relative_to(self.directory)): path.stat().st_size
            for path in self._visible()
            if path.is_file()
        }

    def folders(self) -> set[str]:
        return {str(path.relative_to(self.directory)) for path in self._visible() if path.is_dir()}

    def _visible(self) -> Iterable[Path]:
        state = str(self.directory / ".galileod")
        return [path for path in self.directory.rglob("*") if not str(path).startswith(state)]

    def make_hidden(self, name: str) -> str:
        """Make a file one that the system refuses to look at, as in a folder of another user.

        Its path is too long, since nothing else is refused to root. Returns its new name.
        """
        hidden = "x" * 300 + f"/{name}"
        self.unlink(name)
        assert isinstance(self.ledger, SqliteLedger)
        self.ledger.database.connection.execute(
            "UPDATE files SET name = ? WHERE name = ?", (hidden, name)
        )
        return hidden

    def write(self, name: str, size: int) -> None:
        """Put a file there by hand."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))

    def unlink(self, name: str) -> None:
        os.unlink(self.directory / name)


def results(outcomes: Iterable[Outcome]) -> dict[str, str]:
    return {one.name: one.result for one in outcomes}
