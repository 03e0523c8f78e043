"""A tab of the browser that holds the page to its word: whatever it complains of fails the test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from helpers.daemon import Daemon
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

expect.set_options(timeout=30_000)

ADD_CHOICE: Final = """\
document.body.innerHTML = '<input type="file" id="files" multiple>';
"""

# Chromium reports a violation on the console too, but not each one in the same words.
REPORT_VIOLATIONS: Final = """\
addEventListener("securitypolicyviolation", (event) => {
  const { effectiveDirective, blockedURI } = event;
  console.error(`Violates the policy: ${effectiveDirective} of ${blockedURI}`);
});
"""


REMEMBERED: Final = """\
() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("galileo", 1);
  opening.onupgradeneeded = () => opening.transaction.abort();
  opening.onerror = () => resolve([]);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("uploads").objectStore("uploads").getAll();
    reading.onsuccess = () => resolve(reading.result.map(({ sent }) => sent));
    reading.onerror = () => reject(reading.error);
    opening.result.close();
  };
})
"""
"""How far the uploads are that the browser remembers."""

PICK: Final = """\
({ name, size }) => {
  globalThis.showOpenFilePicker = async () => {
    const folder = await navigator.storage.getDirectory();
    const handle = await folder.getFileHandle(name, { create: true });
    const stream = await handle.createWritable();
    await stream.write(new Uint8Array(size));
    await stream.close();
    return [handle];
  };
}
"""
"""The user is one who picks a file of zeros, which lies in the browser's own file system."""

NO_PICKER: Final = "delete globalThis.showOpenFilePicker"
"""Makes the browser one without handles of files: it has the dialogs of inputs only."""


def http(daemon: Daemon, port: int | None = None) -> str:
    """The address of its page; `port` is that of something that forwards to it."""
    host, own = daemon.address
    return f"http://{host}:{port or own}"


class Tab:
    """One tab in a browser profile of its own. Its page may complain only as it was told to."""

    def __init__(self, browser: Browser, **options: Any) -> None:  # noqa: ANN401
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(30_000)
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self._expected: list[str] = []
        self._allowed: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("crash", lambda _: self.complaints.append("the tab crashed"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(message.text)

    def expect_complaint(self, *parts: str) -> None:
        """Complaints that hold one of these may come, and each of these must."""
        self._expected.extend(parts)

    def allow_complaint(self, *parts: str) -> None:
        """Complaints that hold one of these may come."""
        self._allowed.extend(parts)

    def close(self) -> None:
        """Close the tab; fails if the page complained, or not as it should."""
        if not self.page.is_closed():
            self.page.evaluate("0")  # whatever is on its way arrives before the answer
        self.context.close()
        known = [*self._expected, *self._allowed]
        others = [text for text in self.complaints if not any(part in text for part in known)]
        assert not others, f"the page complained: {others}"
        for part in self._expected:
            assert any(part in text for text in self.complaints), f"no complaint about: {part}"


class UploadPage:
    """The upload page in a tab."""

    def __init__(self, tab: Tab, base: str, fragment: str = "") -> None:
        self.tab = tab
        self.page = tab.page
        self.page.goto(f"{base}/{fragment}")
        self.rows = self.page.locator("#uploads > li.upload")

    def choose(self, *paths: Path) -> None:
        self.page.set_input_files("#files", list(paths))

    def row(self, number: int = 0) -> Locator:
        return self.rows.nth(number)

    def status(self, number: int = 0) -> Locator:
        return self.row(number).locator(".status")

    def button(self, kind: str, number: int = 0) -> Locator:
        """`pause`, `resume`, `retry` or `cancel` of a row."""
        return self.row(number).locator(f"button[name={kind}]")

    def remembered(self) -> list[int]:
        """The bytes that were sent of each upload that the browser remembers."""
        sent: list[int] = self.page.evaluate(REMEMBERED)
        return sent

    def states(self) -> list[str]:
        return [state or "" for state in self.rows.evaluate_all(STATES)]

    def expect_state(self, state: str, number: int = 0, *, seconds: float = 30) -> None:
        """Wait until a row is in this state."""
        expect(self.row(number)).to_have_attribute("data-state", state, timeout=seconds * 1000)

    def expect_states(self, states: Sequence[str]) -> None:
        """All rows, in their order."""
        expect(self.rows).to_have_count(len(states))
        for number, state in enumerate(states):
            self.expect_state(state, number)


STATES: Final = "rows => rows.map((row) => row.dataset.state)"

OpenPage = Callable[..., UploadPage]
"""Opens the page of a daemon; see the fixture `upload_page`."""
