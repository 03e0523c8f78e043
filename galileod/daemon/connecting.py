"""Tries storage and ledger with the settings of a configuration: `check-config --connect`."""

import os
import tempfile
from collections.abc import Iterator

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.ledger.engines import try_out
from galileod.storage.errors import StorageError

from .paths import nearest_existing

Outcome = tuple[str, str | None]
"""What was tried, and why it does not work."""


def try_storage(config: Config) -> Iterator[Outcome]:
    """Each step as it is done. Blocks. What is stored for it is removed again."""
    directory = os.path.abspath(config.storage.directory)
    yield f"storage.directory: use {directory}", _why_not(directory)
    if config.storage.backend == "s3":
        yield from _try_s3(config)
    if config.ledger.url is not None:
        yield f"ledger: use {config.ledger.url}", _why_no_ledger(config)


def _why_no_ledger(config: Config) -> str | None:
    """Why the database cannot be used. Nothing is changed in it."""
    try:
        try_out(config.ledger)
    except LedgerError as error:
        return str(error)
    return None


def _why_not(directory: str) -> str | None:
    """Why this user cannot use the directory, or create it."""
    existing = nearest_existing(directory)
    if existing is None:
        return "this user may not look at it"
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"no file can be created in {existing}: {error.strerror}"


def _try_s3(config: Config) -> Iterator[Outcome]:
    settings = config.storage.s3
    opening = f'storage.s3: open the bucket "{settings.bucket}"'
    try:
        # Only this backend needs botocore, which takes long to import, and may be missing.
        from galileod.storage.s3.client import Client  # noqa: PLC0415
        from galileod.storage.s3.trial import try_all  # noqa: PLC0415

        client = Client.open(settings, requests=1)
    except StorageError as error:
        yield opening, str(error)
        return
    try:
        for step, failure in try_all(client, settings):
            yield f"storage.s3: {step}", None if failure is None else str(failure)
    finally:
        client.close()
