"""A mounted filesystem, and a daemon that stores on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from filesystems.hosts import MakeHost, Placed
from filesystems.kinds import KINDS, Kind, Mounted, require
from filesystems.mounting import Mounts
from helpers.daemon import Daemon


# Tests of one filesystem run one after the other, since pytest orders them by such a parameter.
@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def mounted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    kind: Kind = request.param
    require(kind)
    with Mounts(tmp_path_factory.mktemp(kind.name)) as mounts:
        root, disk = kind.mount(mounts)
        yield Mounted(kind, root, disk, mounts)


@pytest.fixture(scope="session")
def host(mounted: Mounted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that need none of their own; its settings are the defaults."""
    folder = tmp_path_factory.mktemp("host")
    storage = {"directory": str(mounted.root / "host")}
    with Daemon(folder, {"storage": storage}) as daemon:
        yield daemon.start()


@pytest.fixture
def make_host(mounted: Mounted, tmp_path: Path) -> Iterator[MakeHost]:
    """Makes a daemon of the test's own, which is not started."""
    with Placed(mounted.root, tmp_path) as placed:
        yield placed.make
