"""Measures uploads from a browser, and prints tables.

    python bench/browser.py [--size MIB] [--photos N] [--memory MIB] [--runs N] [--tmpfs FOLDER]

One file is sent to galileod, and with a `fetch` PUT to nginx; many photos are sent by the upload
page, and by galileo-send. The browser is a headless Chromium, on the same machine as the servers.
Runs alternate, the stored files are verified after each run, and the page times only the upload.
The browser is controlled with the DevTools protocol directly: Playwright, which the tests use, also
receives every WebSocket message, which takes most of the time. The memory is the peak resident
memory of the tab's process, minus its peak before the upload.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from browser_photos import DIFFERENT, PHOTO, photos
from browser_tab import Browser, Tab, chromium
from connection import Part
from measure import Run, Settings, Subject, alternate, at_least, row, spread, table
from peers import find
from processes import cpu_seconds, peak_memory, reset_peak_memory
from servers import Running
from source_file import Source, source

RATE_TARGET = 0.85
"""Minimum rate with sha1, relative to the PUT."""

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
    add("--photos", type=int, default=3000, help="the number of photos of 1 MB; 0: skip")
    add("--runs", type=int, default=5, help="measured runs, after one warm-up run")
    add("--tmpfs", type=Path, default=Path("/dev/shm"), help="a directory on tmpfs")  # noqa: S108
    add("--quick", action="store_true", help="test the benchmarks: one run with little data")
    return parser.parse_args()


def open_with(tab: Tab, server: Running, path: Path) -> None:
    """Open a page of the server's origin, and choose the file in an input element."""
    tab.open(server, "/healthz")
    tab.evaluate(PREPARE)
    tab.choose([path])


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
            open_with(tab, server, data.path)
            return upload(tab, server, part, script, kind)

        return Subject(name, once)

    put = subject("fetch PUT, nginx", nginx, PUT)
    subjects = [
        subject("galileo.js with sha1, galileod", galileod, GALILEO, "sha1"),
        subject("galileo.js without a hash, galileod", galileod, GALILEO, "none"),
        put,
    ]
    alternate("browser", subjects, settings)
    rows = []
    for each in subjects:
        ratios = each.ratios_to(put)
        target = at_least(RATE_TARGET, ratios) if each is subjects[0] else "-"
        rows.append(row(each, spread(ratios), target, spread(each.values("rate"), ".0f")))
    return table(["from the browser", "of the PUT's rate", "target", "MB/s"], rows)


def memory(browser: Browser, servers: Sequence[Running], data: Source) -> str:
    """The table of the peak memory of the tab's process, before and during an upload."""
    tab, server = browser.tab(), servers[0]
    open_with(tab, server, data.path)
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
    if options.quick:
        options.size, options.photos, options.memory = 4, 12, 0
    runs = 1 if options.quick else options.runs
    settings = Settings(options.size << 20, runs, options.tmpfs, options.tmpfs, options.quick)
    peers = find(["galileod", "nginx"], None, may_install=not options.quick)
    for peer in peers:
        if peer.missing:
            sys.exit(f"{peer.name}: {peer.missing}")
    benchmarks: list[tuple[int, Callable[[Browser, Sequence[Running], Source], str]]] = [
        (options.size << 20, partial(rates, settings=settings)),
        (
            min(options.photos, DIFFERENT) * PHOTO,
            partial(photos, settings=settings, count=options.photos),
        ),
        (options.memory << 20, memory),
    ]
    for size, benchmark in benchmarks:
        if size == 0:
            continue
        with ExitStack() as stack:
            data = stack.enter_context(source(options.tmpfs, size))
            servers = [stack.enter_context(peer.started(data.folder / peer.name)) for peer in peers]
            browser = stack.enter_context(chromium(data.folder))
            print(f"\n{benchmark(browser, servers, data)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
