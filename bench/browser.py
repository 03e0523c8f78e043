"""Measures uploads from a browser: to galileod, and with a `fetch` PUT to nginx. Prints tables.

    python bench/browser.py [--size MIB] [--runs N] [--memory MIB] [--tmpfs FOLDER]

The browser is a headless Chromium, on the same machine as the servers. Runs alternate, the stored
file is verified after each run, and the page times only the upload. The browser is controlled with
the DevTools protocol directly: Playwright, which the tests use, also receives every WebSocket
message, which takes most of the time. The memory is the peak resident memory of the tab's process,
minus its peak before the upload.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from connection import Part
from measure import Run, Settings, Subject, alternate, row, spread, table
from peers import find
from processes import cpu_seconds, free_port, peak_memory, reset_peak_memory, running
from servers import Running
from source_file import Source, source
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

PREPARE = """document.body.innerHTML = '<input type="file" id="files">'"""

GALILEO = """async ([name, hash]) => {
  const { upload } = await import("/galileo.js");
  const file = document.querySelector("#files").files[0];
  const began = performance.now();
  await upload({ url: "/upload", file, name, hash });
  return (performance.now() - began) / 1000;
}"""

PUT = """async ([name]) => {
  const file = document.querySelector("#files").files[0];
  const began = performance.now();
  const { ok, status } = await fetch(`/${name}`, { method: "PUT", body: file });
  if (!ok) throw new Error(`the server responded with status ${status}`);
  return (performance.now() - began) / 1000;
}"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure uploads from a browser.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--size", type=int, default=500, help="MiB of the file whose rate is measured")
    add("--memory", type=int, default=2048, help="MiB of the file for the tab's memory; 0: skip")
    add("--runs", type=int, default=5, help="measured runs, after one warm-up run")
    add("--tmpfs", type=Path, default=Path("/dev/shm"), help="a directory on tmpfs")  # noqa: S108
    return parser.parse_args()


class Tab:
    """A tab, controlled with the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method; returns its result. Raises RuntimeError with the browser's error."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._connection.recv())).get("id") != number:
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

    def open(self, server: Running, path: Path) -> None:
        """Open a page of the server's origin, and select the file in its input element."""
        self.call("Page.enable")
        self.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/healthz")
        while json.loads(self._connection.recv()).get("method") != "Page.loadEventFired":
            pass
        self.call("Page.disable")
        self.evaluate(PREPARE)
        handle = self.evaluate("document.querySelector('#files')", by_value=False)
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=handle)


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


def upload(tab: Tab, server: Running, part: Part, script: str, kind: str) -> Run:
    """One upload, timed by the page; then the stored file is verified."""
    before = cpu_seconds(server.pid)
    seconds = float(tab.evaluate(f"({script})({json.dumps([part.name, kind])})"))
    cpu = cpu_seconds(server.pid) - before
    server.check_and_remove([part])
    return Run(part.size, seconds, cpu)


def rates(browser: Browser, servers: Sequence[Running], data: Source, settings: Settings) -> str:
    """The table of rates."""
    galileod, nginx = servers
    (part,) = data.parts(1)
    tab = browser.tab()

    def subject(name: str, server: Running, script: str, kind: str = "") -> Subject:
        def once() -> Run:
            tab.open(server, data.path)
            return upload(tab, server, part, script, kind)

        return Subject(name, once)

    put = subject("fetch PUT, nginx", nginx, PUT)
    subjects = [
        subject("galileo.js with sha1, galileod", galileod, GALILEO, "sha1"),
        subject("galileo.js without a hash, galileod", galileod, GALILEO, "none"),
        put,
    ]
    alternate("browser", subjects, settings)
    rows = [
        row(each, spread(each.ratios_to(put)), spread(each.values("rate"), ".0f"))
        for each in subjects
    ]
    return table(["from the browser", "of the PUT's rate", "MB/s"], rows)


def memory(browser: Browser, server: Running, data: Source) -> str:
    """The table of the peak memory of the tab's process, before and during an upload."""
    tab = browser.tab()
    tab.open(server, data.path)
    (part,) = data.parts(1)
    before = {}
    for pid in browser.renderers():
        reset_peak_memory(pid)
        before[pid] = peak_memory(pid)
    upload(tab, server, part, GALILEO, "sha1")
    # The process of the tab is the one whose memory has grown most.
    after = {pid: peak_memory(pid) for pid in before if Path(f"/proc/{pid}").exists()}
    pid = max(after, key=lambda each: after[each] - before[each])
    idle, peak = before[pid], after[pid]
    cells = [f"{data.size >> 20}", f"{idle:.0f}", f"{peak:.0f}", f"{peak - idle:.0f}"]
    return table(["MiB sent", "before, MiB", "peak, MiB", "increase, MiB"], [cells])


def main() -> None:
    options = arguments()
    settings = Settings(options.size << 20, options.runs, options.tmpfs, options.tmpfs)
    peers = find(["galileod", "nginx"], None, may_install=True)
    for peer in peers:
        if peer.missing:
            sys.exit(f"{peer.name}: {peer.missing}")
    benchmarks: list[tuple[int, Callable[[Browser, Sequence[Running], Source], str]]] = [
        (options.size, lambda browser, servers, data: rates(browser, servers, data, settings)),
        (options.memory, lambda browser, servers, data: memory(browser, servers[0], data)),
    ]
    for size, benchmark in benchmarks:
        if size == 0:
            continue
        with ExitStack() as stack:
            data = stack.enter_context(source(options.tmpfs, size << 20))
            servers = [stack.enter_context(peer.started(data.folder / peer.name)) for peer in peers]
            browser = stack.enter_context(chromium(data.folder))
            print(f"\n{benchmark(browser, servers, data)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
