"""Nodes that share a ledger in PostgreSQL, in this process."""

from contextlib import ExitStack

from attrs import define, field

from galileod.ledger.node import Me
from galileod.ledger.postgresql import Address, PostgresqlLedger
from galileod.ledger.postgresql.elsewhere import PostgresqlElsewhere


@define
class LedgerNodes:
    """Opens the ledger at `url` for nodes, and closes all at the end of `opened`."""

    url: str
    opened: ExitStack = field(factory=ExitStack)

    def start(self, name: str) -> PostgresqlLedger:
        """The ledger of a node; one that runs has another name."""
        me = Me(name, name.rjust(32, "0"), "1.0", local=False)
        ledger = PostgresqlLedger.open(Address(self.url), me=me)
        self.opened.callback(ledger.close)
        return ledger

    def start_many(self, count: int) -> list[PostgresqlLedger]:
        return [self.start(f"node-{number}") for number in range(count)]


def elsewhere_of(ledger: PostgresqlLedger) -> PostgresqlElsewhere:
    assert ledger.elsewhere is not None
    return ledger.elsewhere
