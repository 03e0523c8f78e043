"""A daemon that has seen something, and the programs that look at it."""

import shutil
from collections.abc import Iterator

import pytest
from helpers.clients import JavaScriptClient, some_bytes
from helpers.daemon import Daemon, Settings
from helpers.engines.postgresql import Postgresql
from helpers.missing import leave_out
from prometheus.programs import MISSING


def find(program: str) -> str:
    """The program; without it the test is left out, or fails in CI."""
    path = shutil.which(program)
    if path is None:
        leave_out(MISSING)
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    return find("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    return find("prometheus")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, postgresql: Postgresql) -> Iterator[Daemon]:
    """A node with a quota, that has stored two files and refused one."""
    settings: Settings = {
        "ledger": {"url": postgresql.new_database()},
        "quota": {"total_bytes": "10MB", "total_files": 100},
        "limits": {"max_file_size": "2MB"},
    }
    with Daemon(tmp_path_factory.mktemp("watched"), settings) as daemon:
        daemon.start()
        for size, ending in ((1_500_000, "stored"), (0, "stored"), (2_000_001, "failed")):
            assert JavaScriptClient(daemon.url, some_bytes(size)).run().ending == ending
        yield daemon
