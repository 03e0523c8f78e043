"""Opens the ledger that the configuration names: a file of SQLite, or a database in PostgreSQL."""

from typing import TYPE_CHECKING

from .base import Ledger, LedgerError, Step, ignore_step
from .contents import Contents
from .node import Me
from .settings import PSYCOPG_MISSING
from .settings import Ledger as Settings
from .sqlite import SqliteLedger

if TYPE_CHECKING:
    from .postgresql import Address, PostgresqlLedger


def place_of(settings: Settings, path: str) -> str:
    """Where the ledger is, for messages: `path`, or the URL."""
    return settings.url or path


def open_ledger(settings: Settings, path: str, me: Me | None, step: Step = ignore_step) -> Ledger:
    """Open the ledger, or create it: at `path`, if it is a file. Blocks; raises LedgerError.

    `me` is this node, which may write to a database then.
    """
    if settings.url is None:
        return SqliteLedger.open(path, step=step)
    ledger, address = _postgresql(settings.url, settings.password_file)
    return ledger.open(address, step=step, me=me)


def open_read_only(settings: Settings, path: str) -> Ledger:
    """Open the ledger to read it, and change nothing. Blocks; raises LedgerError."""
    if settings.url is None:
        return SqliteLedger.open_read_only(path)
    ledger, address = _postgresql(settings.url, settings.password_file)
    return ledger.open_read_only(address)


def try_out(settings: Settings, files: int) -> Contents | None:
    """What is in the database, with at most so many `files`. Changes nothing in it. Blocks.

    None if it is of an older galileod, and does not tell. Raises LedgerError if it could not be
    used.
    """
    name = settings.node_name
    if settings.url is None or name is None:
        return Contents()
    _, address = _postgresql(settings.url, settings.password_file)
    from .postgresql.trial import try_out as try_database  # noqa: PLC0415  as in `_postgresql`

    return try_database(address, name, files)


def _postgresql(url: str, password_file: str | None) -> "tuple[type[PostgresqlLedger], Address]":
    """What only this engine needs: its library is an extra, and takes time to load."""
    try:
        from .postgresql import Address, PostgresqlLedger  # noqa: PLC0415
    except ImportError as error:  # also if the library has no libpq
        raise LedgerError(f"{PSYCOPG_MISSING} ({error})") from error
    return PostgresqlLedger, Address(url, password_file)
