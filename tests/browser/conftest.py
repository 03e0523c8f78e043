"""A browser for the session, and tabs in it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser.files import Write
from browser.line import Line
from browser.tab import ADD_CHOICE, OpenPage, Tab, UploadPage, http
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon
from playwright.sync_api import Browser

MakeTab = Callable[..., Tab]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with its defaults, for all tests of a module; they use names of their own."""
    with Daemon(tmp_path_factory.mktemp("host")) as daemon:
        yield daemon.start()


@pytest.fixture
def new_tab(chromium: Browser) -> Iterator[MakeTab]:
    """Call it for a tab; options are those of a browser context."""
    tabs: list[Tab] = []

    def make(**options: object) -> Tab:
        tabs.append(Tab(chromium, **options))
        return tabs[-1]

    yield make
    with ExitStack() as stack:
        for tab in tabs:
            stack.callback(tab.close)


@pytest.fixture
def blank(new_tab: MakeTab) -> Callable[[str], Tab]:
    """Call it with the address of a daemon for a tab with a page of that origin with no script."""

    def make(base: str) -> Tab:
        tab = new_tab()
        # Chromium asks for an icon, and complains that there is none.
        tab.page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        # A page made up by Playwright has no address, so Chromium bars it from local servers.
        tab.page.goto(f"{base}/healthz")
        tab.page.evaluate(ADD_CHOICE)
        return tab

    return make


@pytest.fixture
def line(host: Daemon) -> Iterator[Line]:
    """A line to the module's daemon."""
    with Line(host) as line:
        yield line


@pytest.fixture
def upload_page(new_tab: MakeTab) -> Callable[..., UploadPage]:
    """Call it with a daemon for its page in a tab."""

    def make(daemon: Daemon, *, port: int | None = None, **options: object) -> UploadPage:
        return UploadPage(new_tab(**options), http(daemon, port))

    return make


@pytest.fixture
def page(host: Daemon, upload_page: OpenPage) -> UploadPage:
    return upload_page(host)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Call it to write a file; the name is one that nothing else has, unless it is given."""

    def make(size: int, name: str | None = None, *, seed: int = 0) -> Path:
        path = tmp_path / (name or unique_name())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some_bytes(size, seed))
        return path

    return make
