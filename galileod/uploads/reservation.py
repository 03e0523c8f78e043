"""What one running upload has reserved, and how that ends."""

from collections.abc import Callable, Hashable, Sequence

import trio
from attrs import define, evolve, field

from galileod.config.model import Config
from galileod.ledger.base import Ledger, LedgerError, UnknownUploadError, WholeEntry
from galileod.ledger.lease import LeaseLostError, LeaseRunOutError
from galileod.ledger.records import Commit
from galileod.policy.quota import Holding
from galileod.policy.settings import Quota
from galileod.storage.base import Sink, Stored

from .keeper import Entry, Keeper, Published
from .upload import Upload


@define(eq=False)
class Reservation:
    """What one running upload has reserved.

    `remaining` returns the bytes not received yet, which `filesystem` must have space for. `room`
    are bytes for which `Room` has found space already. `reserved` says whether it is in the ledger,
    and `published` whether the file has its name. `receipt` is what was promised to the hook.
    """

    _ledger: Ledger
    _keeper: Keeper
    upload: Upload
    remaining: Callable[[], int]
    filesystem: Hashable = None
    room: int = 0
    reserved: bool = False
    receipt: str | None = field(init=False, default=None)
    _kept_as: Entry | None = field(init=False, default=None)
    published: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        kept = self.upload.kept
        if kept is not None:  # as long as its file is not open
            self.keep(kept.offset, kept.durable)

    @property
    def received(self) -> int:
        """Bytes of the file that have come."""
        return self.upload.metadata.size - self.remaining()

    @property
    def kept_bytes(self) -> int:
        """Bytes that `end` keeps; 0 if it releases the reservation."""
        return self._kept_as.offset if self._kept_as else 0

    def quota(self, config: Config) -> Quota:
        """The quota for the upload's user."""
        own = self.upload.grant.quota
        return config.quota if own is None else evolve(config.quota, user_bytes=own)

    def keep(self, offset: int, durable: int) -> None:
        """If the upload fails, keep the first `offset` bytes, `durable` of which are durable."""
        self._kept_as = Entry(self.upload.id, offset, durable, self.upload.config.resume)

    def discard(self) -> None:
        """If the upload fails, keep nothing."""
        self._kept_as = None

    async def promise(self, sink: Sink, receipt: str | None, sha1: str) -> None:
        """Record that the sink's file is about to be published, and its receipt for the hook.

        Raises LedgerError and StorageError. The upload then fails: after a crash nobody would know
        that it was stored.
        """
        self.receipt = receipt
        await self._ledger.promise(self.upload.id, sink.identity, receipt, sha1)

    async def commit(self, stored: Stored, sha1: str) -> None:
        """Replace the reservation with the stored file in the ledger.

        Raises LeaseLostError and LeaseRunOutError if other nodes may have settled the upload before
        its file was published, and UnknownUploadError if it can never be recorded: then nobody
        may be told that it is stored. Else never LedgerError.
        """
        self.published = True
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                await self._keeper.commit(self.committed(stored, sha1))
            except LedgerError as error:
                # Until that is made up for, the reservation counts in place of the file.
                self.upload.log.warning("ledger.behind", reason=str(error))
                if (doubt := self.doubt_after(error)) is not None:
                    raise doubt from error

    def doubt_after(self, error: LedgerError) -> LedgerError | None:
        """What `commit` raises after an error of the ledger."""
        if isinstance(error, UnknownUploadError):
            return error  # nothing makes up for it
        node = self._ledger.node
        if node is None:
            return None
        if isinstance(error, LeaseLostError):
            return error
        return None if node.lease.is_valid() else LeaseRunOutError(str(error))

    def committed(self, stored: Stored, sha1: str) -> Published:
        """What the ledger is to record."""
        remember = self.upload.config.resume.keep if self.upload.resumable else 0
        commit = Commit(self.upload.id, stored.name, remember, sha1, stored.made)
        upload = self.upload
        entry = WholeEntry(
            upload.id,
            upload.grant.user,
            upload.metadata.size,
            _allow_stored,
            resumable=upload.resumable,
            identity=stored.identity,
            receipt=self.receipt,
            about=upload.about,
            sha1=sha1,
        )
        return Published(commit, entry)

    async def end(self) -> None:
        """Release the reservation, or turn it into a kept upload. Never raises LedgerError.

        Once the file was published, it stays for what `commit` could not record.
        """
        if self.published:
            return
        with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
            try:
                if self._kept_as is None:
                    await self._keeper.release(self.upload.id)
                else:
                    await self._keeper.keep(self._kept_as)
            except LeaseLostError:
                pass  # another node has released or kept it
            except LedgerError as error:
                # The reservation remains until that is made up for, or the next start.
                self.upload.log.warning("ledger.behind", reason=str(error))
                self._kept_as = None


def _allow_stored(_all: Holding, _own: Holding) -> None:
    """The quota has allowed it before it was stored."""


async def commit_whole(
    keeper: Keeper, published: Sequence[tuple[Reservation, Stored, str]]
) -> Sequence[LedgerError | None]:
    """`Reservation.commit` for files that were published together. Returns what each raises."""
    if not published:
        return []
    doubts = list[LedgerError | None]()
    commits = [each.committed(stored, sha1) for each, stored, sha1 in published]
    with trio.CancelScope(shield=True):  # the ledger's methods are bounded in time
        for (reservation, _, _), error in zip(
            published, await keeper.commit_whole(commits), strict=True
        ):
            if error is not None:
                reservation.upload.log.warning("ledger.behind", reason=str(error))
            doubts.append(None if error is None else reservation.doubt_after(error))
    return doubts
