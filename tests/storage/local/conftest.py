"""What the tests of the local store share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.local_store import open_local

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.local import LocalStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Descriptors of ours are told from others by this name.
    return tmp_path / "galileod-files"


@pytest.fixture
def open_store(directory: Path) -> Iterator[Callable[..., LocalStore]]:
    with ExitStack() as stores:

        def make(
            on_conflict: OnConflict = "rename",
            durability: Durability = "full",
            at: Path = directory,
        ) -> LocalStore:
            store = open_local(at, on_conflict, durability)
            stores.callback(store.close)
            return store

        yield make
