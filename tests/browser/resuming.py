"""Uploads from a browser that are interrupted, and go on by themselves."""

import filecmp
import json
from pathlib import Path
from typing import Any, Final

from browser.line import Line
from browser.tab import Tab
from helpers.daemon import Daemon, LogLine, poll
from playwright.sync_api import Page

RECONNECTING: Final = "WebSocket connection to"
"""What Chromium writes on the console for each connection that it could not make."""

START: Final = """\
async ({ name, ...options }) => {
  const { upload, uploadAll } = await import("/galileo.js");
  const files = document.querySelector("#files").files;
  const calls = { error: [], failure: [] };
  const handlers = {
    onerror: (signal) => calls.error.push(signal),
    onfile: ({ state, error }) => state === "failed" && calls.failure.push(error.signals),
  };
  const all = { url: "/upload", ...handlers, ...options };
  if (name === "upload") {
    const running = (globalThis.running = upload({ ...all, file: files[0] }));
    running.done.catch(({ signals }) => calls.failure.push(signals));
    globalThis.outcome = running.done.then(() => calls, () => calls);
  } else {
    const running = (globalThis.running = uploadAll({ files, ...all }));
    globalThis.outcome = running.done.then(() => calls);
  }
}
"""
"""Sends the chosen files by the function `name`; `outcome` tells which handlers were called."""

UNTROUBLED: Final[dict[str, list[Any]]] = {"error": [], "failure": []}


def large_file(path: Path, size: int) -> Path:
    """A file whose parts differ."""
    block = bytearray(1 << 20)
    with path.open("wb") as file:
        for number in range(size >> 20):
            block[:8] = number.to_bytes(8)
            block[-8:] = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8)
            file.write(block)
        file.write(b"e" * (size % (1 << 20)))
    return path


def logged(host: Daemon, event: str, **fields: object) -> list[LogLine]:
    """The lines of this event, of all processes of a daemon that was restarted."""
    texts = [path.read_text() for path in host.folder.glob("stderr-*.log")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return [line for line in lines if line["event"] == event and fields.items() <= line.items()]


def check_stored_once(host: Daemon, path: Path) -> None:
    """The file is there, whole, and under no second name."""
    stored = [name for name in host.visible() if name.startswith(path.stem)]
    assert stored == [path.name]
    assert filecmp.cmp(path, host.directory / path.name, shallow=False)


def choose(tab: Tab, *paths: Path) -> None:
    tab.page.set_input_files("#files", paths)


def freeze(page: Page) -> None:
    """Stop the page's clock: it takes no connection for lost, however long a test takes.

    More than a WebSocket takes at once, 8 MiB, cannot be sent then.
    """
    page.clock.install(time=0)
    page.clock.pause_at(1000)


def key_of(host: Daemon, event: str, path: Path) -> object:
    """What the log calls the key of the upload of which this is the newest line of this event."""
    return host.wait_for(event, name=path.name)["upload"]


def run_until_reconnected(page: Page, line: Line, opened: int) -> None:
    """Let the page's clock run until the line has carried more than `opened` connections."""

    def reconnected() -> bool:
        if line.opened == opened:
            page.clock.run_for(500)
        return line.opened > opened

    poll("another connection", reconnected)
