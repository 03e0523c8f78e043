"""The uploads that are running, for `galileod uploads`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.receiver import UploadReceiver
from galileod.shutdown import Interrupt

from .upload import Upload


@define(eq=False)
class Running:
    """An upload that runs.

    It began at `began` (seconds since the epoch); this connection at `opened` (trio's time), with
    `resumed_at` bytes that the server had already. `received` returns how many it has now.
    `discard` ends it, and discards what has come, until all of it is `finished`.
    """

    upload: str
    user: str
    name: str
    size: int
    began: float
    opened: float
    resumed_at: int
    received: Callable[[], int]
    finished: bool = False
    discard: Interrupt = field(factory=Interrupt)


@contextmanager
def listed(entry: Running, running: dict[str, Running]) -> Iterator[Running]:
    """Have `entry` in `running` during the block."""
    running[entry.upload] = entry
    try:
        yield entry
    finally:
        del running[entry.upload]


def running_entry(upload: Upload, receiver: UploadReceiver, opened: float) -> Running:
    """The entry of an upload, on a connection or a further file that began at `opened`."""
    kept = upload.kept
    return Running(
        upload.id,
        upload.grant.user,
        upload.path.rpartition("/")[2],
        upload.metadata.size,
        kept.began if kept else time.time(),
        opened,
        kept.offset if kept else 0,
        lambda: receiver.received,
    )


def discarded() -> Fault:
    """The fault for an upload that the administrator has discarded."""
    return Fault(FaultCode.ABANDONED, "The administrator of the server has discarded the upload.")
