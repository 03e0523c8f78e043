"""The implementations of a store, for tests that run for all of them."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from helpers.local_store import listed, open_local
from helpers.memory_store import MemoryStore
from helpers.whole_store import WholeStore

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store
from galileod.storage.local import LocalStore

MakeStore = Callable[[OnConflict], Store]

Restart = Callable[[Store], Store]
"""Ends the process of a store; `recover` of the store that it gives is to be called next."""

DATA: Final = os.urandom(300_000)


@frozen
class Kind:
    """One implementation: how to open it, and how to look into it from outside.

    `restart` ends the process of a store, which closes nothing properly, and gives the next one.
    """

    type: type[Store]
    open: Callable[[Path, OnConflict], Store]
    visible: Callable[[Any], dict[str, bytes]]
    unfinished: Callable[[Any], int]
    restart: Callable[[Any], Store]


def read_all(store: LocalStore) -> dict[str, bytes]:
    location = Path(store.location)
    return {name: (location / name).read_bytes() for name in listed(store)}


def spooled(store: LocalStore) -> int:
    return len(os.listdir(Path(store.location) / ".galileod/spool"))


def opened_anew(store: LocalStore) -> LocalStore:
    store.close()
    return LocalStore.open(store._settings)


KINDS: Final = {
    "memory": Kind(
        MemoryStore,
        lambda _, on_conflict: MemoryStore(on_conflict),
        lambda store: dict(store.contents),
        lambda store: len(store.spool),
        lambda store: store,
    ),
    "local, durable": Kind(LocalStore, open_local, read_all, spooled, opened_anew),
    "local": Kind(
        LocalStore, partial(open_local, durability="none"), read_all, spooled, opened_anew
    ),
}


def open_whole(kind: Kind, directory: Path, on_conflict: OnConflict) -> WholeStore:
    """A store of this kind, of which each file is stored in one step."""
    store = kind.open(directory, on_conflict)
    assert isinstance(store, LocalStore | MemoryStore)
    settings = store._settings if isinstance(store, LocalStore) else store.settings
    return WholeStore(store, settings)


def kind_of(store: Store) -> Kind:
    return next(kind for kind in KINDS.values() if isinstance(store, kind.type))


def visible(store: Store) -> dict[str, bytes]:
    inner = store.store if isinstance(store, WholeStore) else store
    return kind_of(inner).visible(inner)


def unfinished(store: Store) -> int:
    inner = store.store if isinstance(store, WholeStore) else store
    return kind_of(inner).unfinished(inner)


async def put(store: Store, name: str, data: bytes, upload: str = "1") -> str:
    async with await store.create(upload, name) as sink:
        await sink.write([data])
        return (await sink.commit()).name


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
