"""From a browser to a file: galileod beside nginx, which takes a plain `fetch` PUT; as tables.

    python bench/browser.py [--size MIB] [--runs N] [--memory MIB] [--tmpfs FOLDER]

The browser is Debian's chromium without a window, and shares the machine with the servers. Lanes
take turns, what landed is compared after each run, and only the upload itself is timed, by the
page. Memory is the most resident memory of the tab's process, less what it had before.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measure import Lane, Run, Settings, alternate, row, spread, table
from peers import Running, find
from playwright.sync_api import Browser, Page, sync_playwright
from process import cpu_seconds, forget_peak, peak_memory
from source import Source, source
from talk import Part

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
  if (!ok) throw new Error(`the server says ${status}`);
  return (performance.now() - began) / 1000;
}"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="From a browser to a file, as tables.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--size", type=int, default=500, help="MiB of the file whose rate is measured")
    add("--memory", type=int, default=2048, help="MiB of the file for the tab's memory; 0: none")
    add("--runs", type=int, default=5, help="runs that count, after one that does not")
    add("--tmpfs", type=Path, default=Path("/dev/shm"), help="a folder in memory")  # noqa: S108
    return parser.parse_args()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser."""
    program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if program is None:
        sys.exit("needs a browser: install Debian's package chromium")
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def tab(browser: Browser, server: Running, path: Path) -> Page:
    """A page of the server's origin, where the file is chosen."""
    page = browser.new_page()
    page.set_default_timeout(0)
    page.goto(f"http://127.0.0.1:{server.port}/healthz")
    page.evaluate(PREPARE)
    page.set_input_files("#files", path)
    return page


def upload(page: Page, server: Running, part: Part, script: str, kind: str) -> Run:
    """One upload, timed by the page; then a look at what landed."""
    before = cpu_seconds(server.pid)
    seconds = float(page.evaluate(script, [part.name, kind]))
    cpu = cpu_seconds(server.pid) - before
    server.take_out([part])
    return Run(part.size, seconds, cpu)


def rates(browser: Browser, servers: Sequence[Running], data: Source, settings: Settings) -> str:
    """The table of rates."""
    galileod, nginx = servers
    (part,) = data.parts(1)

    def lane(name: str, server: Running, script: str, kind: str = "") -> Lane:
        page = tab(browser, server, data.path)
        return Lane(name, lambda: upload(page, server, part, script, kind))

    put = lane("fetch PUT, nginx", nginx, PUT)
    lanes = [
        lane("galileo.js with sha1, galileod", galileod, GALILEO, "sha1"),
        lane("galileo.js without a hash, galileod", galileod, GALILEO, "none"),
        put,
    ]
    alternate("browser", lanes, settings)
    rows = [row(each, spread(each.over(put)), spread(each.values("rate"), ".0f")) for each in lanes]
    return table(["from the browser", "of the PUT's rate", "MB/s"], rows)


def memory(browser: Browser, server: Running, data: Source) -> str:
    """What one upload adds to the memory of the tab's process."""
    # Only this tab: other pages may share its process.
    for context in browser.contexts:
        context.close()
    page = tab(browser, server, data.path)
    (part,) = data.parts(1)
    pid = _renderer(browser)
    page.request_gc()
    forget_peak(pid)
    idle = peak_memory(pid)
    upload(page, server, part, GALILEO, "sha1")
    peak = peak_memory(pid)
    cells = [f"{data.size >> 20}", f"{idle:.0f}", f"{peak:.0f}", f"{peak - idle:.0f}"]
    return table(["MiB sent", "before, MiB", "at most, MiB", "added, MiB"], [cells])


def _renderer(browser: Browser) -> int:
    """The process of the only tab: of all renderers (one is kept in reserve) the largest."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [each["id"] for each in processes if each["type"] == "renderer"]
    return int(max(renderers, key=peak_memory))


def main() -> None:
    options = arguments()
    settings = Settings(options.size << 20, options.runs, options.tmpfs, options.tmpfs)
    peers = find(["galileod", "nginx"], None, may_install=True)
    for peer in peers:
        if peer.missing:
            sys.exit(f"{peer.name}: {peer.missing}")
    works: list[tuple[int, Callable[[Browser, Sequence[Running], Source], str]]] = [
        (options.size, lambda browser, servers, data: rates(browser, servers, data, settings)),
        (options.memory, lambda browser, servers, data: memory(browser, servers[0], data)),
    ]
    for size, work in works:
        if size == 0:
            continue
        with ExitStack() as stack:
            data = stack.enter_context(source(options.tmpfs, size << 20))
            servers = [stack.enter_context(peer.started(data.folder / peer.name)) for peer in peers]
            browser = stack.enter_context(chromium())
            print(f"\n{work(browser, servers, data)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
