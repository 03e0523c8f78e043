"""Fixtures that more than one folder of tests uses."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.daemon import Daemons
from helpers.engines.postgresql import Postgresql
from helpers.engines.shared import attach
from helpers.missing import leave_out
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# No example is judged by how long it takes: the machine has other things to do.
settings.register_profile("galileod", deadline=None)
settings.load_profile("galileod")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is remembered of uploads in the home directory, by this process and its children."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def _signals_of_a_shell() -> None:
    """What a test starts has the default action for Ctrl-C, also below nohup or in the background.

    A handler is not inherited by a program that is executed, an ignored signal is.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemons]:
    """Call it with settings to start a daemon; all of them are gone when the test ends."""
    with ExitStack() as stack:
        yield Daemons(tmp_path, stack)


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="galileod-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """The browser: one for the session, since Playwright cannot be started twice in a process."""
    from browser.chromium import MISSING, find_browser, running_browser  # noqa: PLC0415  costly

    program = find_browser()
    if program is None:
        leave_out(MISSING)
    with running_browser(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Postgresql:
    """The run's PostgreSQL."""
    return attach(Postgresql, tmp_path_factory)


@pytest.fixture(scope="session")
def new_ledger_url(postgresql: Postgresql) -> Callable[[], str]:
    """Tells where a further ledger can be: in an empty schema of PostgreSQL."""
    return partial(postgresql.new_schema, postgresql.new_database())


@pytest.fixture
def ledger_url(new_ledger_url: Callable[[], str]) -> str:
    """Where a ledger can be."""
    return new_ledger_url()


@pytest.fixture
def own_postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL that the test may stop and kill."""
    Postgresql.require()
    with Postgresql() as engine:
        yield engine
