"""Nodes with short leases, and one without a database, in simulated time."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psycopg
import trio
from attrs import define, field
from helpers.daemon import Daemon

from galileod.ledger.base import LedgerError, Recovery
from galileod.ledger.contents import RunningNode
from galileod.ledger.lease import Lease
from galileod.ledger.node import Node


def short_lease(seconds: float, margin: float, renew: float) -> str:
    """What a node executes first whose lease is to be as short, for `Daemon(before=)`."""
    return f"""
from galileod.daemon import node
from galileod.ledger import lease
lease.LEASE_SECONDS, lease.MARGIN, node.RENEW_SECONDS = {seconds}, {margin}, {renew}
"""


def not_recording(marker: Path) -> str:
    """What a node executes first which, if it is "one", records no stored file as long as there is
    a file `marker`, for `Daemon(before=)`."""
    return f"""
import os
from galileod.ledger.base import LedgerError
from galileod.ledger.postgresql import PostgresqlLedger
commit_whole = PostgresqlLedger.commit_whole
async def commit_late(self, commits):
    if self.node.name == "one" and os.path.exists({str(marker)!r}): raise LedgerError("it fails")
    return await commit_whole(self, commits)
PostgresqlLedger.commit_whole = commit_late
"""


class LosingDaemon(Daemon):
    """A node whose database loses rows. Its log has no other errors."""

    def check_log(self) -> None:
        for line in self.log():
            if line["level"] in ("error", "critical"):
                assert "the upload is not in the ledger" in line["reason"], line


def lose_rows(url: str) -> None:
    """As by a failover to a database that lacks the last transactions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM uploads")


@define(eq=False)
class FakeNode(Node):
    """A node whose database answers as it is told, at the times in `renewals`."""

    name: str = "one"
    lease: Lease = field(factory=lambda: Lease(trio.current_time))
    ahead: float = 0.0
    answers: bool = True
    taken: bool = False
    taken_on: str | None = None
    refused: str | None = None
    renewals: list[float] = field(factory=list)
    begun: list[float] = field(factory=list)
    adopted: list[float] = field(factory=list)
    leaves: list[Sequence[str]] = field(factory=list)
    declared: list[Mapping[str, str]] = field(factory=list)
    others_have: Mapping[str, Mapping[str, str]] = field(factory=dict)

    async def renew(self) -> bool:
        sent = self.lease.now()
        await trio.sleep(0.5)
        if not self.answers:
            raise LedgerError("the database is away")
        if self.taken:
            return False
        self.renewals.append(sent)
        self.lease.renewed(sent)
        return True

    async def begin_again(self) -> None:
        sent = self.lease.now()
        await trio.sleep(0.5)
        if not self.answers:
            raise LedgerError("the database is away")
        if self.refused is not None:
            raise LedgerError(self.refused)
        self.begun.append(sent)
        self.taken = False
        self.lease.begin(sent)

    async def adopt(self) -> Collection[str]:
        self.adopted.append(self.lease.now())
        await trio.lowlevel.checkpoint()
        if not self.answers:
            raise LedgerError("the database is away")
        return self.leaves.pop(0) if self.leaves else ()

    async def declare(self, settings: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        await trio.lowlevel.checkpoint()
        if not self.answers:
            raise LedgerError("the database is away")
        self.declared.append(settings)
        return self.others_have

    def running_beside(self) -> Sequence[RunningNode]:
        return ()

    def left(self) -> Collection[str]:
        return ()

    def others(self) -> Collection[str]:
        return ()

    def settle(self, published: Mapping[str, str], recovery: Recovery) -> None:
        """There is nothing to settle."""


def newer_galileod(*, compatible: bool) -> str:
    """What a node executes first of a newer galileod: its tables have more columns.

    `compatible`: they work with nodes of this version.
    """
    return f"""
from galileod.ledger.postgresql import schema
mine = len(schema.MIGRATIONS)
schema.MIGRATIONS += schema.Migration(mine if {compatible} else mine + 1, "; ".join(
    f"ALTER TABLE {{table}} ADD COLUMN more TEXT"
    for table in ("files", "uploads", "objects", "parts", "outbox", "nodes", "asks", "tickets")
)),
"""
