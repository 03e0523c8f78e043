"""The implementations of a store, for tests that run for all of them."""

import hashlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio
from attrs import frozen
from helpers.local_store import open_local
from helpers.memory_store import MemoryStore
from helpers.two_nodes import TwoNodes
from helpers.whole_store import WholeStore

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store
from galileod.storage.finished import Standing
from galileod.storage.local import LocalStore, scan

MakeStore = Callable[[OnConflict], Store]

Restart = Callable[[Store], Store]
"""Ends the process of a store; `recover` of the store that it gives is to be called next."""

_NUMBERS: Final = count()

DATA: Final = os.urandom(300_000)


async def _nothing(_store: Store, _upload: str) -> None:
    await trio.lowlevel.checkpoint()


@frozen
class Kind:
    """One implementation: how to open it, and how to look into it from outside.

    `restart` ends the process of a store, which closes nothing properly, and gives the next one.
    `keeps_parts`: what was written and is no whole part is lost with the process, unless the file
    was suspended; but what was suspended is certain. `keeps_whole`: a file of `write_whole` is in
    memory until it is published. `ended` is called when an upload has ended, as the ledger of a
    daemon is told.
    """

    type: type[Store]
    open: Callable[[Path, OnConflict], Store]
    visible: Callable[[Any], dict[str, bytes]]
    unfinished: Callable[[Any], int]
    restart: Callable[[Any], Store]
    keeps_parts: bool = False
    keeps_whole: bool = False
    ended: Callable[[Any, str], Awaitable[object]] = _nothing


def read_all(store: LocalStore) -> dict[str, bytes]:
    location = Path(store.location)
    pages = scan.walk(store._directory.fd, 1000)
    return {name: (location / name).read_bytes() for page in pages for name in page}


def spooled(store: LocalStore) -> int:
    return len(os.listdir(store._spool.fd))


def opened_anew(store: LocalStore) -> LocalStore:
    store.close()
    return LocalStore.open(store._settings, node=store._state.node)


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
    "local, node": Kind(LocalStore, partial(open_local, node="a"), read_all, spooled, opened_anew),
    "local, two nodes": Kind(
        TwoNodes,
        TwoNodes.open,
        lambda nodes: read_all(nodes.first),
        lambda nodes: spooled(nodes.first) + spooled(nodes.second),
        TwoNodes.restart,
    ),
}


FURTHER: Final = list[Kind]()
"""Kinds that are not on every machine: their tests add them."""


def open_whole(kind: Kind, directory: Path, on_conflict: OnConflict) -> WholeStore:
    """A store of this kind, of which each file is stored in one step."""
    store = kind.open(directory, on_conflict)
    inner: Any = store
    return WholeStore(store, inner.settings if isinstance(store, MemoryStore) else inner._settings)


def kind_of(store: Store) -> Kind:
    inner = store.store if isinstance(store, WholeStore) else store
    return next(kind for kind in (*KINDS.values(), *FURTHER) if isinstance(inner, kind.type))


def visible(store: Store) -> dict[str, bytes]:
    inner = store.store if isinstance(store, WholeStore) else store
    return kind_of(inner).visible(inner)


def unfinished(store: Store) -> int:
    inner = store.store if isinstance(store, WholeStore) else store
    return kind_of(inner).unfinished(inner)


def begun(store: Store) -> int:
    """What `unfinished` is while one file is written."""
    return 0 if isinstance(store, WholeStore) and kind_of(store).keeps_whole else 1


async def listed(store: Store) -> dict[str, int]:
    """The sizes of the finished files, by their names."""
    names = [name async for page in store.walk(1000) for name in page]
    standings = zip(names, await store.look(names), strict=True)
    return {name: now.size for name, now in standings if isinstance(now, Standing)}


async def put(store: Store, name: str, data: bytes) -> str:
    """Store a file by an upload of its own."""
    upload = f"put-{next(_NUMBERS)}"
    async with await store.create(upload, name) as sink:
        await sink.write([data])
        name = (await sink.commit()).name
    await kind_of(store).ended(store.store if isinstance(store, WholeStore) else store, upload)
    return name


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
