"""A store in a bucket, for tests, and what can be seen of it from outside."""

import itertools
import os
from pathlib import Path
from typing import Final

from helpers.engines.buckets import Bucket
from helpers.store_kinds import Kind

from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.publication import OnConflict
from galileod.storage.s3.client import Client
from galileod.storage.s3.looking import is_name
from galileod.storage.s3.memory import PartMemory
from galileod.storage.s3.shared import TAIL_KEYS
from galileod.storage.s3.store import S3Store
from galileod.storage.settings import S3, Storage
from galileod.units import Size
from galileod.uploads.memory import MemoryPool, PoolPartMemory

_NUMBERS: Final = itertools.count()

MIB: Final = 1 << 20
PART: Final = 5 * MIB
"""The smallest part that there is."""


class LedgerStore(S3Store):
    """A store with a ledger of its own. Its client belongs to the caller."""

    ledger: SqliteLedger
    bucket: Bucket
    folder: Path

    def close(self) -> None:
        self.ledger.close()


def memory(total: int = 256 * MIB) -> PartMemory:
    return PoolPartMemory(MemoryPool(total, 250_000))


def open_s3(
    bucket: Bucket,
    client: Client,
    prefix: str,
    directory: Path,
    on_conflict: OnConflict = "rename",
    pool: PartMemory | None = None,
) -> LedgerStore:
    """A store below a prefix of a bucket, with the ledger in a directory."""
    directory.mkdir(exist_ok=True)
    s3 = S3(bucket=bucket.name, prefix=prefix, part_size=Size(PART))
    ledger = SqliteLedger.open(str(directory / "ledger"))
    settings = Storage(backend="s3", on_conflict=on_conflict, s3=s3)
    store = LedgerStore(settings, client, ledger.objects, pool or memory())
    store.ledger, store.bucket, store.folder = ledger, bucket, directory
    return store


def opened_anew(store: LedgerStore) -> LedgerStore:
    """As after the end of its process."""
    store.close()
    settings = store._settings
    return open_s3(
        store.bucket,
        store.shared.client,
        settings.s3.prefix,
        store.folder,
        settings.on_conflict,
    )


def visible(store: LedgerStore) -> dict[str, bytes]:
    """The finished files."""
    shared = store.shared
    keys = [key for key, _ in shared.client.list(shared.prefix, "", 1000)]
    names = filter(is_name, (key.removeprefix(shared.prefix) for key in keys))
    return {name: shared.client.get(shared.key(name)) for name in names}


def unfinished(store: LedgerStore) -> int:
    """The uploads that are not published: each that is in the ledger or has left something."""
    shared = store.shared
    every = list(store.ledger.objects.all())
    begun = {one.upload for one in every if not (one.completing and is_there(store, one.name))}
    begun |= {key for key, _, _ in shared.client.unfinished(shared.prefix)} - {
        shared.key(one.name or "") for one in every
    }
    tails = {one.tail.key for one in every if one.tail}
    return len(begun | (set(tail_keys(store)) - tails))


def tail_keys(store: LedgerStore) -> list[str]:
    shared = store.shared
    return [key for key, _ in shared.client.list(shared.key(TAIL_KEYS), "", 1000)]


def is_there(store: LedgerStore, name: str | None) -> bool:
    return name is not None and store.shared.client.head(store.shared.key(name)) is not None


def make_kind(bucket: Bucket, client: Client) -> Kind:
    """A kind for one test, with a prefix of its own."""
    prefix = f"{os.getpid()}-{next(_NUMBERS)}/"

    def opening(directory: Path, on_conflict: OnConflict) -> LedgerStore:
        return open_s3(bucket, client, prefix, directory, on_conflict)

    return Kind(
        LedgerStore,
        opening,
        visible,
        unfinished,
        opened_anew,
        keeps_parts=True,
        keeps_whole=True,
        ended=lambda store, upload: store.shared.objects.drop(upload),
    )
