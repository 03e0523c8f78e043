"""What all uploads share."""

from random import Random
from typing import Final

import trio
from attrs import Factory, define, field

from galileod.auth.authenticator import Authenticator
from galileod.config.model import Config
from galileod.files.check import Checker
from galileod.files.publication import PublicationLock, lock_for
from galileod.files.quota_check import QuotaCheck
from galileod.files.removal import Remover
from galileod.files.rescan import Rescanner
from galileod.hooks.receipt import make_removed_receipt
from galileod.ledger.base import Ledger
from galileod.ledger.lease import Lease
from galileod.ledger.records import FileEntry
from galileod.metrics import Metrics, RemovalReason
from galileod.policy.pacing import least_credit
from galileod.shutdown import Shutdown
from galileod.storage.base import Store

from .admission import Admission
from .asking import Asking
from .claims import Claims
from .handover import Handover
from .joint import Joint
from .keeper import Keeper
from .memory import MemoryPool
from .room import Room
from .running import Running

LOOKUPS: Final = 2
"""Maximum questions of clients that are looked up at the same time: others wait, so that uploads
do not have to wait for them."""


def _make_keeper(context: "Context") -> Keeper:
    return Keeper(context.store, context.ledger, context.publication, context.metrics)


def _make_admission(context: "Context") -> Admission:
    return Admission(
        context.store,
        context.ledger,
        context.keeper,
        lambda: context.config,
        QuotaCheck(context.ledger, context.checker),
    )


def _make_checker(context: "Context") -> Checker:
    return Checker(context.store, context.ledger, context.publication)


def _make_remover(context: "Context") -> Remover:
    return Remover(
        context.store,
        context.ledger,
        context.publication,
        context.metrics,
        context.removed_receipt,
        lambda: context.lease,
        lambda: context.keeper.uncommitted,
    )


def _make_rescanner(context: "Context") -> Rescanner:
    return Rescanner(context.store, context.ledger, context.checker)


def _make_asking(context: "Context") -> Asking:
    return Asking(context.metrics, context.store.directory)


def _make_handover(context: "Context") -> Handover:
    return Handover(context.ledger, context.keeper, context.claims, context.running)


def _make_room(context: "Context") -> Room:
    running = context.admission.running
    return Room(context.store, context.ledger, context.keeper, running, lambda: context.config)


@define(eq=False)
class Context:
    """What all uploads share. `config` is the configuration in force; `adopt` changes it.

    `lease` says whether this node may write; it is to be asked before each step that does.
    `running` are the uploads that run, by their ids. `lookups` limits questions which
    files are stored.
    """

    config: Config
    store: Store
    ledger: Ledger
    pool: MemoryPool
    authenticator: Authenticator = field(factory=Authenticator)
    metrics: Metrics = field(factory=Metrics)
    shutdown: Shutdown = field(factory=Shutdown)
    lease: Lease = field(factory=Lease.endless)
    publication: PublicationLock = field(
        init=False,
        default=Factory(lambda it: lock_for(it.store, it.ledger.elsewhere), takes_self=True),
    )
    claims: Claims = field(init=False, factory=Claims)
    joint: Joint = field(init=False, factory=Joint)
    lookups: trio.CapacityLimiter = field(init=False, factory=lambda: trio.CapacityLimiter(LOOKUPS))
    running: dict[str, Running] = field(init=False, factory=dict)
    keeper: Keeper = field(init=False, default=Factory(_make_keeper, takes_self=True))
    handover: Handover = field(init=False, default=Factory(_make_handover, takes_self=True))
    checker: Checker = field(init=False, default=Factory(_make_checker, takes_self=True))
    remover: Remover = field(init=False, default=Factory(_make_remover, takes_self=True))
    rescanner: Rescanner = field(init=False, default=Factory(_make_rescanner, takes_self=True))
    admission: Admission = field(init=False, default=Factory(_make_admission, takes_self=True))
    asking: Asking = field(init=False, default=Factory(_make_asking, takes_self=True))
    room: Room = field(init=False, default=Factory(_make_room, takes_self=True))
    # A system call for each id would cost a small file 5 % of its time.
    _ids: Random = field(init=False, factory=Random)

    def new_id(self) -> str:
        """The id of an upload: 16 hexadecimal digits. It is unique, but no secret."""
        return f"{self._ids.getrandbits(64):016x}"

    def removed_receipt(self, entry: FileEntry, reason: RemovalReason) -> str | None:
        """The receipt of a removal, for the hook; None without one."""
        if not self.config.hooks.removed:
            return None
        return make_removed_receipt(entry, reason)

    def adopt(self, config: Config) -> None:
        """Apply `config` to all uploads. Credits that were granted remain valid."""
        self.config = config
        chunks = config.chunks
        self.pool.resize(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
        self.store.reconfigure(config.storage)
        self.ledger.outbox.notify()  # receipts may be waiting for a hook to be configured
