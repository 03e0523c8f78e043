"""What the tests of the local store share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.local_store import open_local
from helpers.whole_store import WholeLocalStore

from galileod.policy.publication import Durability, OnConflict
from galileod.storage.local import LocalStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Descriptors of ours are told from others by this name.
    return tmp_path / "galileod-files"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "by_sink: only for files that are stored by a sink")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for files that are stored by a sink, and for those stored in one step."""
    if "store_type" in metafunc.fixturenames:
        by_sink = metafunc.definition.get_closest_marker("by_sink")
        kinds = {"sink": LocalStore} if by_sink else {"sink": LocalStore, "whole": WholeLocalStore}
        metafunc.parametrize("store_type", kinds.values(), ids=kinds)


@pytest.fixture
def open_store(
    directory: Path, store_type: type[LocalStore]
) -> Iterator[Callable[..., LocalStore]]:
    with ExitStack() as stores:

        def make(
            on_conflict: OnConflict = "rename",
            durability: Durability = "full",
            at: Path = directory,
        ) -> LocalStore:
            store = open_local(at, on_conflict, durability, kind=store_type)
            stores.callback(store.close)
            return store

        yield make
