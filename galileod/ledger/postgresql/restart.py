"""What becomes of the uploads of an earlier process of this node: those that are left."""

from collections.abc import Mapping

from galileod.ledger.base import Recovery
from galileod.ledger.records import Commit

from . import transitions, uploads
from .connection import Connection


def settle(
    connection: Connection,
    on_disk: Mapping[str, int] | None,
    published: Mapping[str, str],
    recovery: Recovery,
    now: float,
) -> None:
    """Commit what was published, keep what may be resumed, and drop all others.

    Nothing is kept if `recovery.seconds` is 0.
    """
    seconds = recovery.seconds
    for upload, size, identity in uploads.promised(connection):
        name = published.get(identity)
        # The filesystem may have given the identity to another file since.
        if name is not None and (on_disk is None or on_disk.get(name) == size):
            uploads.commit(connection, [Commit(upload, name, seconds)], now, due=0)
    for upload, name in recovery.names.items():
        # A power failure may have removed the promise, and that the upload was not kept any more.
        declared = uploads.size(connection, upload)
        if declared is not None and (on_disk is None or on_disk.get(name) == declared):
            transitions.resume(connection, upload)
            uploads.commit(connection, [Commit(upload, name, seconds)], now, due=0)
    transitions.recover(connection, recovery.offsets if seconds else {}, now, seconds)
