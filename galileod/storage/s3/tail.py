"""The tail of an interrupted upload: what makes no whole part yet, as an object of its own.

With a line that breaks more often than a part takes, an upload would never end without it. It is
removed only after the ledger has a part, or a newer tail, with its bytes.
"""

from functools import partial

from galileod.ledger.objects import ObjectUpload, Tail
from galileod.storage.errors import MissingError, StorageError

from .client import UPLOAD
from .shared import TAIL_KEYS, Shared, ledger_steps


async def keep_tail(
    shared: Shared, upload: str, offset: int, content: bytearray | memoryview, state: bytes
) -> Tail:
    """Store the bytes of an upload from `offset` on, and enter that; returns the entry.

    Raises StorageError.
    """
    # Another key for each: the one before must stay until this one is entered.
    key = shared.key(f"{TAIL_KEYS}{upload}-{offset + len(content)}")
    put = partial(shared.client.put, key, content, {UPLOAD: upload}, new=False)
    await shared.request(put)
    tail = Tail(key, offset, len(content), state)
    with ledger_steps():
        before = await shared.objects.set_tail(upload, tail)
    if before is not None and before.key != key:
        await shared.delete(before.key)
    return tail


async def check_tail(shared: Shared, known: ObjectUpload) -> None:
    """Raise MissingError if the tail of an interrupted upload is gone."""
    if known.tail is None:
        return
    head = await shared.request(partial(shared.client.head, known.tail.key))
    if head is None or head.size != known.tail.length:
        raise MissingError("what was stored of its last part is gone")


async def read_tail(shared: Shared, tail: Tail) -> bytes:
    """The bytes of a tail. Raises StorageError, but not MissingError: it was there before."""
    try:
        data = await shared.request(partial(shared.client.get, tail.key), shared.threads.tails)
    except MissingError as error:
        raise StorageError(str(error)) from error
    if len(data) != tail.length:
        raise StorageError(f"the object {tail.key} has {len(data)} bytes, not {tail.length}")
    return data
