"""Reads the ledger of a daemon that does not run."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.state import ledger_path


@contextmanager
def open_ledger(directory: str) -> Iterator[SqliteLedger]:
    """The ledger of this `storage.directory`, to be read. Raises click.ClickException."""
    path = ledger_path(directory)
    try:
        os.stat(path)
    except FileNotFoundError:
        raise click.ClickException(
            f"{path}: does not exist: galileod has not been started with this directory, or the"
            " ledger was removed; the next start creates one"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    try:
        with closing(SqliteLedger.open_read_only(path)) as ledger:
            yield ledger
    except LedgerError as error:
        raise click.ClickException(f"{path}: {error}") from None
