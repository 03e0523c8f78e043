"""Compares the settings of this node with those of the others, which should be the same."""

from collections.abc import Mapping
from typing import Final

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.config.model import KEYS, Config, value_of
from galileod.ledger.base import LedgerError
from galileod.ledger.node import Node
from galileod.uploads.context import Context

LOOK_SECONDS: Final = 5.0
"""Seconds between two looks whether a reload has changed them."""

_SECTIONS: Final = ("quota.", "resume.", "limits.", "hash.")

_SINGLE: Final = (
    "auth.mode",
    "storage.durability",
    "storage.keep_modified",
    "storage.layout",
    "storage.on_conflict",
    "storage.retention",
)

AGREEING: Final = tuple(key for key in KEYS if key.startswith(_SECTIONS) or key in _SINGLE)
"""The keys that decide what is stored, and under which name, or that count over all nodes. None has
a secret as its value."""

_log: FilteringBoundLogger = structlog.get_logger()


async def compare_settings(node: Node, context: Context) -> None:
    """Until cancelled, compare them after the start, and after each reload that changes them.

    Another node that has different ones is logged once. If the database is away, it is done later.
    """
    told: Mapping[str, str] | None = None
    while True:
        settings = _settings(context.config)
        if settings != told and node.lease.is_valid():
            try:
                others = await node.declare(settings)
            except LedgerError:
                pass  # that the database is away is logged with the lease
            else:
                told = settings
                _report(settings, others)
        await trio.sleep(LOOK_SECONDS)


def _settings(config: Config) -> Mapping[str, str]:
    return {key: str(value_of(config, key)) for key in AGREEING}


def _report(mine: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> None:
    for name, settings in others.items():
        # A node of another version may not have all of them.
        keys = [key for key in mine if settings.get(key, mine[key]) != mine[key]]
        if keys:
            _log.warning("node.differs", other=name, keys=keys)
