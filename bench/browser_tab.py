"""A headless Chromium and its tab, controlled with the DevTools protocol."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from processes import free_port, running
from servers import Running
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

SECONDS = 900
"""Time limit in seconds for an answer of the browser."""


class Tab:
    """A tab, controlled with the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method; returns its result. Raises RuntimeError with the browser's error."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := self._receive()).get("id") != number:
            pass  # an event
        result = answer.get("result", {})
        if error := answer.get("error") or result.get("exceptionDetails"):
            raise RuntimeError(json.dumps(error))
        return dict(result)

    def evaluate(self, expression: str, *, by_value: bool = True) -> Any:  # noqa: ANN401
        """Evaluate an expression, or wait for its promise; returns its value.

        Without `by_value` returns the id of the object.
        """
        options = {"awaitPromise": True, "returnByValue": by_value}
        result = self.call("Runtime.evaluate", expression=expression, **options)["result"]
        return result.get("value") if by_value else result["objectId"]

    def open(self, server: Running, path: str) -> None:
        """Open the page of a server."""
        self.call("Page.enable")
        self.call("Page.navigate", url=f"http://127.0.0.1:{server.port}{path}")
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        self.call("Page.disable")

    def choose(self, files: Sequence[Path]) -> None:
        """Choose files in the input element with the id `files`."""
        handle = self.evaluate("document.querySelector('#files')", by_value=False)
        self.call("DOM.setFileInputFiles", files=list(map(str, files)), objectId=handle)

    def _receive(self) -> dict[str, Any]:
        return dict(json.loads(self._connection.recv(SECONDS)))


class Browser:
    """A running browser, at its debugging port."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._address = f"http://127.0.0.1:{port}/json"
        self._stack = stack

    def tab(self) -> Tab:
        """The tab that is open at the start."""
        with urlopen(f"{self._address}/list") as answer:  # noqa: S310  our own
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        return self._connect(pages[0])

    def renderers(self) -> list[int]:
        """The process ids of all tabs, a spare process and perhaps the last page's included."""
        with urlopen(f"{self._address}/version") as answer:  # noqa: S310  our own
            whole = self._connect(json.load(answer))
        processes = whole.call("SystemInfo.getProcessInfo")["processInfo"]
        return [int(each["id"]) for each in processes if each["type"] == "renderer"]

    def _connect(self, target: dict[str, str]) -> Tab:
        connection = connect(target["webSocketDebuggerUrl"], max_size=None, compression=None)
        return Tab(self._stack.enter_context(connection))


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start a headless browser with its profile in `folder`."""
    program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if program is None:
        sys.exit("needs a browser: install Debian's package chromium")
    port = free_port()
    flags = ["--headless", "--disable-gpu", "--no-first-run", f"--remote-debugging-port={port}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # as root Chromium cannot run with its sandbox
    command = [program, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with ExitStack() as stack:
        stack.enter_context(running(command, folder / "chromium.log", port))
        with ExitStack() as connections:
            yield Browser(port, connections)
