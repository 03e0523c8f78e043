"""The browser: Debian's chromium, driven by Playwright, which never downloads one of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")

PLAIN: Final = "plain.test"
"""A name of this machine whose pages are not secure contexts, as those of 127.0.0.1 are."""

MISSING: Final = "needs a browser: install Debian's package chromium"


def find_browser() -> str | None:
    """The program, or None where this machine has no browser."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


@contextmanager
def running_browser(program: str) -> Iterator[Browser]:
    """The browser without a window, for as long as the block runs."""
    # Chromium refuses to run as root with its sandbox, and containers often have no other user.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = ["--disable-gpu", f"--host-resolver-rules=MAP {PLAIN} 127.0.0.1", *sandbox]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()
