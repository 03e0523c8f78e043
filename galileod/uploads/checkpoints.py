"""Checkpoints of an upload: what has come by then survives a power failure."""

from typing import Final

import trio

from galileod.ledger.base import Ledger, UncertainError
from galileod.ledger.unavailable import UnavailableError
from galileod.storage.base import Sink

CHECKPOINT_BYTES: Final = 64 * 1024 * 1024
"""Bytes after which a checkpoint is made."""

CHECKPOINT_SECONDS: Final = 5.0
"""Seconds after which a checkpoint is made if anything has come."""


class Checkpoints:
    """Makes checkpoints of the upload `upload` while `run` runs beside its transfer.

    A power failure loses at most what has come since the last one that is complete.
    """

    def __init__(self, sink: Sink, ledger: Ledger, upload: str) -> None:
        self._sink = sink
        self._ledger = ledger
        self._upload = upload
        self._covered = sink.offset
        self._due = trio.Event()

    def written(self) -> None:
        """Something was written to the sink."""
        if self._sink.offset - self._covered >= CHECKPOINT_BYTES:
            self._due.set()

    async def run(self) -> None:
        """Make checkpoints until cancelled. Raises StorageError and LedgerError.

        While the database of the ledger is away, none is recorded.
        """
        while True:
            with trio.move_on_after(CHECKPOINT_SECONDS):
                await self._due.wait()
            self._due = trio.Event()
            before, offset = self._covered, self._sink.offset
            if offset > before:
                self._covered = offset
                durable = await self._sink.checkpoint()
                try:
                    await self._ledger.checkpoint(self._upload, durable)
                except (UnavailableError, UncertainError):
                    self._covered = before  # the next one covers it
