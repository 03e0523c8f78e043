"""The tail of an interrupted upload: what makes no whole part yet, as an object of its own.

With a line that breaks more often than a part takes, an upload would never end without it. It is
removed only after the ledger has a part, or a newer tail, with its bytes.
"""

import secrets
from functools import partial

from galileod.ledger.objects import ObjectUpload, Tail
from galileod.storage.errors import MissingError, StorageError

from .client import UPLOAD
from .sha1 import Sha1
from .shared import TAIL_KEYS, Shared, ledger_steps


async def keep_tail(
    shared: Shared, upload: str, offset: int, content: bytearray | memoryview, state: bytes
) -> Tail:
    """Store the bytes of an upload from `offset` on, and enter that; returns the entry.

    Raises StorageError.
    """
    # Another key for each: the one before must stay until this one is entered, and one that was
    # given up, since it took too long, must not replace it later.
    key = shared.key(f"{TAIL_KEYS}{upload}-{offset}-{secrets.token_hex(4)}")
    put = partial(shared.client.put, key, content, {UPLOAD: upload}, new=False)
    await shared.request(put)
    tail = Tail(key, offset, len(content), state)
    with ledger_steps():
        before = await shared.objects.set_tail(upload, tail)
    if before is not None:
        await shared.delete(before.key)
    return tail


async def check_tail(shared: Shared, known: ObjectUpload) -> None:
    """Raise MissingError if the tail of an interrupted upload is gone; and StorageError."""
    if known.tail is None:
        return
    head = await shared.request(partial(shared.client.find, known.tail.key))
    if head is None or head.size != known.tail.length:
        raise MissingError("what was stored of its last part is gone")


async def read_tail(shared: Shared, tail: Tail, before: bytes | None) -> bytes:
    """The bytes of a tail; `before` is the state of the running hash where it begins.

    Raises StorageError, but not MissingError: it was there when the upload was opened.
    """
    return await shared.request(partial(_read, shared, tail, before), shared.threads.tails)


def _read(shared: Shared, tail: Tail, before: bytes | None) -> bytes:
    try:
        data = shared.client.get(tail.key)
    except MissingError as error:
        raise StorageError(error.reason, error.place) from error
    running = Sha1(before)
    running.update(data)
    if running.state() != tail.state:
        raise StorageError(f"the object {tail.key} is not what was stored there")
    return data
