"""Logs that the clock of this node and that of the database differ."""

from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.node import CLOCKS_APART, Node

LOOK_SECONDS: Final = 5.0
"""Seconds between two looks. The clocks are compared as often."""

_log: FilteringBoundLogger = structlog.get_logger()


async def watch_clock(node: Node) -> None:
    """Until cancelled, log once that the clocks differ, and once that they agree again."""
    apart = False
    while True:
        if (abs(node.ahead) > CLOCKS_APART) != apart:
            apart = not apart
            if apart:
                _log.warning("node.clock", ahead=round(node.ahead, 1))
            else:
                _log.info("node.clock_agrees")
        await trio.sleep(LOOK_SECONDS)
