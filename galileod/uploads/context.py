"""What all uploads share."""

from attrs import Factory, define, field

from galileod.auth.authenticator import Authenticator
from galileod.config.model import Config
from galileod.ledger.base import Ledger
from galileod.metrics import Metrics
from galileod.policy.pacing import least_credit
from galileod.shutdown import Shutdown
from galileod.storage.base import Store

from .admission import Admission
from .memory import MemoryPool
from .publication import PublicationLock


@define(eq=False)
class Context:
    """What all uploads share. `config` is the configuration in force; `adopt` changes it."""

    config: Config
    store: Store
    ledger: Ledger
    pool: MemoryPool
    authenticator: Authenticator = field(factory=Authenticator)
    metrics: Metrics = field(factory=Metrics)
    shutdown: Shutdown = field(factory=Shutdown)
    publication: PublicationLock = field(factory=PublicationLock)
    admission: Admission = field(
        init=False,
        default=Factory(
            lambda context: Admission(context.store, context.ledger, lambda: context.config),
            takes_self=True,
        ),
    )

    def adopt(self, config: Config) -> None:
        """Apply `config` to all uploads. Credits that were granted remain valid."""
        self.config = config
        chunks = config.chunks
        self.pool.resize(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
        self.store.reconfigure(config.storage)
        self.ledger.outbox.notify()  # receipts may be waiting for a hook to be configured
