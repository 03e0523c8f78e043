"""Settles the uploads of nodes that are dead, and those that this node had when it lost its lease.

As at a start, but while others run: files that were published are entered in the ledger, what may
be resumed is kept, and the rest is removed.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.files.publication import PublicationLock
from galileod.ledger.base import Ledger, LedgerError, Recovery
from galileod.ledger.lease import LeaseRunOutError
from galileod.ledger.node import Node
from galileod.ledger.outage import is_outage
from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.storage.finished import Found
from galileod.uploads.context import Context

from .progress import Progress

SETTLE_SECONDS: Final = 5.0
"""Seconds between two looks for uploads that are left. A node looks only while its lease is steady.
"""

_log: FilteringBoundLogger = structlog.get_logger()


async def settle_left(node: Node, context: Context) -> None:
    """Settle what is left of uploads, until cancelled. What fails is logged, and tried again."""
    reported: str | None = None
    whose = set[str]()
    while True:
        await trio.sleep(SETTLE_SECONDS)
        if not node.lease.is_steady():
            continue
        try:
            with node.lease.using():
                left = set(await node.adopt())
                # After an attempt that has failed, those of others belong to this node.
                whose = whose | (left - {node.name}) if whose and left else left
                if whose:
                    await _settle(node, context, whose)
                    whose = set()
            reported = None
        except (LedgerError, StorageError) as error:
            if str(error) != reported and not is_outage(error):
                _log.warning("node.not_settled", reason=str(error))
            reported = str(error)


async def _settle(node: Node, context: Context, whose: Collection[str]) -> None:
    store, ledger, keep = context.store, context.ledger, context.config.resume.keep
    progress = _Leased(node=node)

    left = await trio.to_thread.run_sync(
        lambda: find_left(store, ledger, keep, progress, running=True)
    )
    async with unchanged(store, context.publication, left) as (found, recovery):
        await trio.to_thread.run_sync(node.settle, found.names, recovery)
    await drop_rest(store, left, recovery)
    await context.keeper.refresh()
    kept, stored = len(recovery.offsets), len(recovery.names)
    _log.info("node.settled", nodes=sorted(whose), kept=kept, stored=stored)


@frozen
class Left:
    """What the store has of uploads that are left. `useless` are those of which nothing is."""

    found: Found
    recovery: Recovery
    useless: Collection[str]


def find_left(
    store: Store, ledger: Ledger, keep: float, progress: Progress, *, running: bool = False
) -> Left:
    """What the store has of uploads that are left, which are kept for `keep` seconds. Blocks.

    `running` is as for `Store.recover`. Raises StorageError and LedgerError.
    """
    progress.phase = "finding interrupted uploads"
    trusted = ledger.interrupted() if keep else {}
    claimed, others = (ledger.node.left(), ledger.node.others()) if ledger.node else ((), ())
    trusted = {**dict.fromkeys(claimed, 0), **trusted}
    recovered = store.recover(trusted, progress.step, others, claimed, running=running)
    identities = {each.identity: upload for upload, each in recovered.items() if each.identity}
    progress.phase = "listing the directory"
    found = store.scan({*ledger.promised(), *identities}, progress.found, ledger.undated())
    parts = {upload: each.offset for upload, each in recovered.items() if not each.identity}
    recovery = Recovery(
        {upload: offset for upload, offset in parts.items() if offset},
        {identities[each]: name for each, name in found.names.items() if each in identities},
        keep,
    )
    return Left(found, recovery, [upload for upload, offset in parts.items() if not offset])


@asynccontextmanager
async def unchanged(
    store: Store, publication: PublicationLock, left: Left
) -> AsyncIterator[tuple[Found, Recovery]]:
    """What `find_left` has returned, without published files that are there no longer.

    Other nodes may have replaced or removed them since; in the block they do not. Raises
    StorageError and LedgerError.
    """
    found, recovery = left.found, left.recovery
    if not found.names:
        yield found, recovery
        return
    names = list(found.names.values())
    async with publication.hold(names, replaces=True):
        there = dict[str, str]()
        for (identity, name), now in zip(found.names.items(), await store.look(names), strict=True):
            if isinstance(now, StorageError):
                raise now
            if now is not None and identity in now.identities:
                there[identity] = name
        kept = {upload: name for upload, name in recovery.names.items() if name in there.values()}
        yield evolve(found, names=there), evolve(recovery, names=kept)


async def drop_rest(store: Store, left: Left, recovery: Recovery) -> None:
    """Remove what cannot be used, and what is left of published uploads beside their files.

    Called when the ledger has recorded all that `left` has found.
    """
    for upload in (*recovery.names, *left.useless):
        await store.drop(upload)


class _Leased(Progress):
    """That of a node that goes on with nothing once its lease has run out."""

    def step(self) -> None:
        """See Progress. Raises LeaseRunOutError."""
        super().step()
        if self.node is not None and not self.node.lease.is_valid():
            raise LeaseRunOutError("the lease has run out")
