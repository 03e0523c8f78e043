"""Tries storage and ledger with the settings of a configuration: `check-config --connect`."""

import os
import tempfile
from collections.abc import Iterator

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.ledger.engines import try_out
from galileod.storage.errors import StorageError

from .moving import SAMPLE
from .paths import nearest_existing
from .sharing import why_not_its_files, why_not_the_name

Outcome = tuple[str, str | None]
"""What was tried, and why it does not work."""


def try_storage(config: Config) -> Iterator[Outcome]:
    """Each step as it is done. Blocks. What is stored for it is removed again."""
    directory = os.path.abspath(config.storage.directory)
    yield f"storage.directory: use {directory}", _why_not(directory)
    if config.storage.backend == "s3":
        yield from _try_s3(config)
    if config.ledger.url is not None:
        yield from _try_ledger(config)


def _try_ledger(config: Config) -> Iterator[Outcome]:
    """Nothing is changed in the database."""
    using = f"ledger: use {config.ledger.url}"
    try:
        contents = try_out(config.ledger, SAMPLE)
    except LedgerError as error:
        yield using, str(error)
        return
    yield using, None
    if contents is None:
        return
    yield f'ledger: use the name "{config.ledger.node_name}"', why_not_the_name(config, contents)
    yield "ledger: find its files", why_not_its_files(config, contents)


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
