"""Stores of every kind."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.store_kinds import KINDS, MakeStore, Restart, kind_of

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    with ExitStack() as stores:

        def make(on_conflict: OnConflict) -> Store:
            store = KINDS[request.param].open(tmp_path / "files", on_conflict)
            stores.callback(store.close)
            return store

        yield make


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store("rename")


@pytest.fixture
def restart() -> Iterator[Restart]:
    with ExitStack() as stores:

        def make(store: Store) -> Store:
            fresh = kind_of(store).restart(store)
            stores.callback(fresh.close)
            return fresh

        yield make
