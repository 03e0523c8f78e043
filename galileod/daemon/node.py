"""Keeps the lease of this node in a ledger that several share, and begins anew if it is lost."""

from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.lease import RENEW_SECONDS
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
    keeper = _Keeper(node, context)
    while True:
        await trio.sleep(LOOK_SECONDS)
        await keeper.look()


class _Keeper:
    def __init__(self, node: Node, context: Context) -> None:
        self._node = node
        self._context = context
        self._renewed = node.lease.now()
        self._reported = False

    async def look(self) -> None:
        """Renew the lease if it is time to, and report what becomes of it."""
        lease = self._node.lease
        sent = lease.now()
        if lease.is_valid() and sent - self._renewed < RENEW_SECONDS:
            return
        try:
            if not await self._node.renew():
                await self._begin_again()
        except LedgerError as error:
            if not lease.is_valid() and not self._reported:
                _log.warning("lease.run_out", reason=str(error))
                self._reported = True
            return
        self._renewed = sent
        if self._reported:
            _log.info("lease.renewed")
            self._reported = False

    async def _begin_again(self) -> None:
        """End all uploads, and then get another lease."""
        lease = self._node.lease
        if not lease.lost.fired:
            _log.error("lease.lost", uploads=len(self._context.admission.running))
            lease.lose()
        self._reported = True
        await lease.wait_unused()
        self._context.keeper.forget_delayed()
        await self._node.begin_again()
