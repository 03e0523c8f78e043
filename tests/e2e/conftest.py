"""Fixtures that several files of end-to-end tests use."""

from collections.abc import Iterator

import pytest
from helpers.daemon import Daemon


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("plain")) as daemon:
        yield daemon.start()
