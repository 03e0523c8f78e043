"""A local store for tests, and what can be seen of it from outside."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore
from galileod.storage.local.timing import Timings
from galileod.storage.settings import Storage

DATA: Final = bytes(range(256)) * 20


def open_local(
    directory: Path,
    on_conflict: OnConflict = "rename",
    durability: Durability = "full",
    timings: Timings = Timings(),  # noqa: B008  it is frozen
    trusted: Mapping[str, int | None] | None = None,
    kind: type[LocalStore] = LocalStore,
    node: str | None = None,
) -> LocalStore:
    """A store that the caller closes. `trusted` is given to `recover`."""
    settings = Storage(directory=str(directory), on_conflict=on_conflict, durability=durability)
    store = kind.open(settings, timings, node)
    try:
        recover_and_drop(store, trusted or {})
    except BaseException:
        store.close()
        raise
    return store


def recover_and_drop(
    store: LocalStore,
    trusted: Mapping[str, int | None],
    step: Callable[[], None] = lambda: None,
    spared: Collection[str] = (),
    claimed: Collection[str] = (),
    *,
    running: bool = False,
) -> Mapping[str, Recovered]:
    """`Store.recover`, and then `drop` of what is of no use, as the daemon does."""
    recovered = store.recover(trusted, step, spared, claimed, running=running)
    useless = [name for name, each in recovered.items() if not each.offset and not each.identity]
    for name in useless:
        store._drop(name, None)
    return {name: each for name, each in recovered.items() if name not in useless}


@contextmanager
def opened(directory: Path) -> Iterator[LocalStore]:
    """A store for the block, for tests in which a second start follows."""
    store = open_local(directory)
    try:
        yield store
    finally:
        store.close()


def listed(store: LocalStore) -> Mapping[str, int]:
    """The sizes of the finished files, by their names."""
    sizes = store.scan().sizes
    assert sizes is not None
    return sizes


def visible(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".galileod"
    }


def spool(directory: Path, node: str | None = None) -> list[str]:
    own = "." if node is None else f"nodes/{node}"
    return os.listdir(directory / ".galileod" / own / "spool")


async def put(store: LocalStore, name: str = "a.bin", upload: str = "1") -> str:
    """A whole upload: two chunks in pieces, a hash that needs reading back, commit."""
    async with await store.create(upload, name) as sink:
        await sink.write([DATA[:10], b"", DATA[10:500], DATA[500:1000]])
        await sink.write([DATA[1000:4000], DATA[4000:]])
        assert await sink.digest("sha256") == hashlib.sha256(DATA).hexdigest()
        return (await sink.commit()).name
