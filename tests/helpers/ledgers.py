"""Ledgers for tests: each implementation, and one without a thread."""

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import trio
from attrs import define

from galileod.ledger.base import Clock, KeptUpload, Ledger, Resumable
from galileod.ledger.postgresql import Address, PostgresqlLedger
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


def open_inline_ledger(
    clock: Clock = time.time, path: str = ":memory:", boot: str | None = None
) -> SqliteLedger:
    return SqliteLedger(InlineDatabase.open(path), path, clock, boot)


@define
class FakeBoot:
    """The id of the machine's start, until a test sets another one, as after a power failure."""

    id: str = "boot-1"


OPENERS: Final[dict[str, Callable[[str, Clock, str], Ledger]]] = {
    "sqlite": lambda path, clock, boot: SqliteLedger.open(path, clock, boot=boot),
    "inline sqlite": lambda path, clock, boot: open_inline_ledger(clock, path, boot),
    "postgresql": lambda url, clock, boot: PostgresqlLedger.open(Address(url), clock, boot=boot),
}
"""Opens a ledger, by implementation: in a file, or at a URL."""


def resumable(key: str = "key", *, authenticated: bool = True, full: bool = True) -> Resumable:
    return Resumable(
        key=key,
        metadata=f"metadata of {key}",
        name=f"{key}.bin",
        path=f"folder/{key}.bin",
        on_conflict="reject",
        durability="full" if full else "none",
        authenticated=authenticated,
    )


async def begin(
    ledger: Ledger,
    upload: str,
    user: str = "anna",
    size: int = 100,
    *,
    authenticated: bool = True,
    full: bool = True,
) -> None:
    """Reserve an upload that may be resumed; its key is `key of` its name."""
    about = resumable(f"key of {upload}", authenticated=authenticated, full=full)
    await ledger.reserve(upload, user, size, allow, resumable=about)


async def keep(  # noqa: PLR0913  likewise
    ledger: Ledger,
    upload: str,
    user: str = "anna",
    size: int = 100,
    offset: int = 40,
    durable: int = 40,
    *,
    seconds: float = 60,
    authenticated: bool = True,
    full: bool = True,
) -> None:
    """`begin` an upload and break it off."""
    await begin(ledger, upload, user, size, authenticated=authenticated, full=full)
    assert await ledger.keep(upload, offset, durable, seconds, 1000) == []


def names(kept: Iterable[KeptUpload]) -> list[str]:
    return [one.upload for one in kept]


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
