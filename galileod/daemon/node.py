"""Keeps the lease of this node in a ledger that several share, and begins anew if it is lost."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.lease import RENEW_SECONDS, LeaseLostError
from galileod.ledger.node import Node
from galileod.uploads.context import Context

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at the lease. One that has run out is renewed at once, since this
process may have been stopped; and so is one that could not be renewed."""

_log: FilteringBoundLogger = structlog.get_logger()


async def keep_lease(node: Node, context: Context) -> None:
    """Renew the lease of `node` until cancelled.

    Once it is lost, all uploads end. Then the node begins anew, with what the others have left.
    """
    await _Keeper(node, partial(_begin_again, node, context)).run()


async def keep_lease_at_start(node: Node) -> None:
    """Renew the lease of `node` until cancelled. Raises LeaseLostError if it is lost."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        where = "" if node.taken_on is None else f", on {node.taken_on},"
        raise LeaseLostError(
            f"another process{where} has taken the place of this node while it started"
        )

    await _Keeper(node, fail).run()


async def _begin_again(node: Node, context: Context) -> None:
    """End all uploads, and then get another lease."""
    lease = node.lease
    if not lease.lost.fired:
        _log.warning("lease.lost", uploads=len(context.admission.running), host=node.taken_on)
        lease.lose()
    await lease.wait_unused()
    context.keeper.forget_delayed()
    await node.begin_again()


class _Keeper:
    """Renews a lease; `lost` is called when it is lost, again until it has returned."""

    def __init__(self, node: Node, lost: Callable[[], Awaitable[None]]) -> None:
        self._node = node
        self._lost = lost
        self._renewed = node.lease.now()
        self._reported: str | None = None  # why it cannot be renewed; empty if it is lost

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Renew the lease if it is time to, and report what becomes of it."""
        lease = self._node.lease
        sent = lease.now()
        if lease.is_valid() and sent - self._renewed < RENEW_SECONDS:
            return
        try:
            if not await self._node.renew():
                if not lease.lost.fired:
                    self._reported = ""  # why it cannot be renewed is another reason now
                await self._lost()
        except LeaseLostError:
            raise
        except LedgerError as error:
            # One that is lost may have another reason: the tables are too new for this node now.
            if not lease.is_valid() and not self._reported:
                self._reported = str(error)
                _log.warning("lease.run_out", reason=self._reported)
            return
        self._renewed = sent
        if self._reported is not None:
            _log.info("lease.renewed")
            self._reported = None
