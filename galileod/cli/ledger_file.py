"""Reads the ledger of a daemon that does not run."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from galileod.config.model import Config
from galileod.ledger.base import Ledger, LedgerError
from galileod.ledger.engines import open_read_only, place_of
from galileod.storage.state import has_nodes, ledger_path

from .control import OF_NODES


@contextmanager
def open_ledger(config: Config) -> Iterator[Ledger]:
    """The ledger of a daemon with this configuration, to be read. Raises click.ClickException."""
    path = ledger_path(config.storage.directory)
    if config.ledger.url is None:
        _check_file(path, config.storage.directory)
    try:
        with closing(open_read_only(config.ledger, path)) as ledger:
            yield ledger
    except LedgerError as error:
        raise click.ClickException(f"{place_of(config.ledger, path)}: {error}") from None


def _check_file(path: str, directory: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError:
        if has_nodes(directory):
            raise click.ClickException(f"{os.path.abspath(directory)}: {OF_NODES}") from None
        raise click.ClickException(
            f"{path}: does not exist: galileod has not been started with this directory, or the"
            " ledger was removed; the next start creates one"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
