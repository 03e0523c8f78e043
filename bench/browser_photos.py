"""Benchmark of many photos from the upload page, compared with galileo-send."""

from collections.abc import Sequence

from browser_tab import Browser
from measure import Run, Settings, Subject, alternate, at_least, row, spread, table
from processes import cpu_seconds
from send_command import SEND, timed, write_out
from servers import Running
from source_file import Source

PHOTO = 1_000_000
"""Bytes of a photo."""

DIFFERENT = 100
"""Photos of different content; further ones are links to them, which saves memory."""

TARGET = 0.5
"""Minimum rate of the page, relative to galileo-send."""

WATCH = """window.done = new Promise((resolve) => {
  let began = null;
  const [summary, cancel] = ["#summary", "#cancel-all"].map((id) => document.querySelector(id));
  addEventListener("change", () => { began = performance.now(); }, { capture: true, once: true });
  new MutationObserver(() => {
    // The button that cancels uploads is visible as long as there are some.
    if (!summary.hidden && cancel.hidden) resolve((performance.now() - began) / 1000);
  }).observe(summary, { attributes: true, childList: true, subtree: true });
}); undefined"""

PREPARE = """document.body.innerHTML = '<input type="file" id="files" multiple>'"""

PUT_ALL = """(async () => {
  const files = document.querySelector("#files").files;
  const began = performance.now();
  let next = 0;
  await Promise.all(Array.from({ length: 6 }, async () => {
    while (next < files.length) {
      const file = files[next++];
      const { ok, status } = await fetch(`/${file.name}`, { method: "PUT", body: file });
      if (!ok) throw new Error(`the server responded with status ${status}`);
    }
  }));
  return (performance.now() - began) / 1000;
})()"""


def photos(
    browser: Browser, servers: Sequence[Running], data: Source, *, settings: Settings, count: int
) -> str:
    """The table of rates of `count` photos; the data has at most DIFFERENT of them."""
    galileod, nginx = servers
    parts = data.parts(count, PHOTO)
    folder = data.folder / "photos"
    write_out(parts[:DIFFERENT], folder)
    paths = [folder / part.name for part in parts]
    for number, path in enumerate(paths[DIFFERENT:]):
        path.hardlink_to(paths[number % DIFFERENT])
    tab = browser.tab()

    def by_page() -> Run:
        tab.open(galileod, "/")
        tab.evaluate(WATCH)
        return chosen(galileod, "done")

    def by_put() -> Run:
        tab.open(nginx, "/healthz")
        tab.evaluate(PREPARE)
        return chosen(nginx, PUT_ALL)

    def chosen(server: Running, result: str) -> Run:
        before = cpu_seconds(server.pid)
        tab.choose(paths)
        seconds = float(tab.evaluate(result))
        cpu = cpu_seconds(server.pid) - before
        server.check_and_remove(parts)
        return Run(count * PHOTO, seconds, cpu, {"files": count / seconds})

    def by_command() -> Run:
        url = f"ws://127.0.0.1:{galileod.port}/upload"
        return timed([SEND, "--quiet", "--recursive", url, folder], galileod, parts, count * PHOTO)

    page = Subject("the upload page, galileod", by_page)
    command = Subject("galileo-send, galileod", by_command)
    put = Subject("fetch PUT, 6 at once, nginx", by_put)
    subjects = [page, command, put]
    alternate("photos", subjects, settings)
    rows = []
    for each in subjects:
        ratios = each.ratios_to(command)
        cells = (
            spread(ratios),
            at_least(TARGET, ratios) if each is page else "-",
            spread(each.values("files"), ".0f"),
            spread(each.values("rate"), ".0f"),
        )
        rows.append(row(each, *cells))
    head = (f"{count} photos of 1 MB", "of galileo-send's rate", "target", "files per second")
    return table((*head, "MB/s"), rows)
