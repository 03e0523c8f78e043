"""What the tests of the client share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trustme
from helpers.daemon import Daemon
from helpers.receivers import PerlReceiver
from helpers.sending import Command, Process, run_process

FOREIGN: Final = ("_proxy", "_PROXY", "GALILEO_TOKEN", "REQUEST_METHOD", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No proxy and no token of the machine's, and nothing remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    for name in os.environ:
        if name.endswith(FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One galileod for all tests of a module."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon.start()


@pytest.fixture
def perl() -> Iterator[PerlReceiver]:
    with PerlReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capfd)


@pytest.fixture
def process() -> Process:
    """`galileo-send` as a process of its own."""
    return run_process


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than what the kernel holds for a reader that does not read; zeros, on no disk."""
    path = tmp_path_factory.mktemp("large") / "a.bin"
    path.touch()
    os.truncate(path, 32 * 1024 * 1024)
    return path
