"""Ledgers for tests: each implementation, and one without a thread."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import trio

from galileod.ledger.base import Clock, Ledger
from galileod.ledger.sqlite import SqliteLedger
from galileod.ledger.sqlite.database import Database
from galileod.policy.quota import Holding

T = TypeVar("T")


class InlineDatabase(Database):
    """Runs each step in the caller's task, since trio's jumping clock waits for no thread."""

    async def _run(self, step: Callable[[], T], *, abandon_on_cancel: bool) -> T:
        del abandon_on_cancel
        await trio.lowlevel.checkpoint()
        return step()


def open_inline_ledger(clock: Clock = time.time, path: str = ":memory:") -> SqliteLedger:
    return SqliteLedger(InlineDatabase.open(path), path, clock)


OPENERS: Final[dict[str, Callable[[Path, Clock], Ledger]]] = {
    "sqlite": lambda directory, clock: SqliteLedger.open(str(directory / "ledger"), clock),
    "inline sqlite": lambda directory, clock: open_inline_ledger(clock, str(directory / "ledger")),
}
"""Opens the ledger of a directory, by implementation."""


def allow(_everybody: Holding, _mine: Holding) -> None:
    """No limits."""


async def store(ledger: Ledger, *names: str, receipt: str) -> None:
    """Enter files, each with a receipt that is owed."""
    for name in names:
        await ledger.reserve(name, "anna", 1, allow)
        await ledger.promise(name, "7", receipt)
        await ledger.commit(name, name)


async def owed(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Name, receipt and failed attempts of what is owed, in the order of the due times."""
    return [(one.name, one.receipt, one.attempts) for one in await ledger.outbox.first(100)]


KILL_AFTER: Final = """
import os, signal

def kill_after(limit):
    calls = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call

    for name in ("rename", "unlink", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
"""
"""For programs of tests: a function that lets them be killed after so many calls that change
directories."""
