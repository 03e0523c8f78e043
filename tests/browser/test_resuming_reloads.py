"""Uploads that a later page, or another tab, goes on with."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from browser.chromium import PLAIN
from browser.files import Write
from browser.line import Line
from browser.resuming import START, UNTROUBLED, check_stored_once, freeze, key_of, logged
from browser.tab import ADD_CHOICE, OpenPage, Tab, UploadPage, http
from helpers.daemon import Daemon, poll
from playwright.sync_api import Page, expect

HELD: Final = 3_000_000
SIZE: Final = 6_000_000
TwoPages = Callable[[str], tuple[Page, Page]]

REMEMBER: Final = {"name": "uploadAll", "resume": True}

UNFINISHED: Final = """\
async (url) => {
  const { unfinished } = await import("/galileo.js");
  return (await unfinished({ url })).map(({ name, size }) => ({ name, size }));
}
"""


def reload(page: Page) -> None:
    """Load the page anew, although it asks whether to leave."""
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()


def wait_until_remembered(page: Page, count: int = 1) -> None:
    """Wait until the database has so many uploads, those of other tabs included."""
    poll(f"{count} remembered uploads", lambda: len(page.evaluate(RECORDS)) == count)


RECORDS: Final = """\
() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("galileo", 1);
  opening.onerror = reject;
  opening.onupgradeneeded = () => opening.result.createObjectStore("uploads", { keyPath: "key" });
  opening.onsuccess = () => {
    const request = opening.result.transaction("uploads").objectStore("uploads").getAllKeys();
    request.onsuccess = () => {
      opening.result.close();
      resolve(request.result);
    };
  };
})
"""


def begin_held(line: Line, page: UploadPage, path: Path) -> None:
    """Send the first part of the file."""
    line.hold(HELD)
    page.choose(path)
    line.wait_until_held()
    page.expect_states(["sending"])
    wait_until_remembered(page.page)


def test_a_file_that_is_chosen_again_after_a_reload_goes_on(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    begin_held(line, page, path)
    begun = key_of(host, "upload.started", path)
    reload(page.page)
    line.release()
    page.choose(path)
    page.expect_states(["stored"])
    check_stored_once(host, path)
    assert key_of(host, "upload.stored", path) == begun
    assert all(line["offset"] for line in logged(host, "upload.resumed", name=path.name))
    wait_until_remembered(page.page, 0)


OPFS: Final = """\
async (name) => {
  const folder = await navigator.storage.getDirectory();
  const handle = await folder.getFileHandle(name, { create: true });
  const file = await handle.createWritable();
  for (let at = 0; at < 6; at += 1) await file.write(new Uint8Array(1e6).fill(at));
  await file.close();
  const { uploadAll } = await import("/galileo.js");
  const files = [{ file: await handle.getFile(), handle }];
  globalThis.running = uploadAll({ url: "/upload", resume: true, files });
}
"""

GO_ON: Final = """\
async () => {
  const { unfinished, uploadAll } = await import("/galileo.js");
  const [{ handle, matches }, ...others] = await unfinished({ url: "/upload" });
  const file = await handle.getFile();
  const running = uploadAll({ url: "/upload", resume: true, files: [{ file, handle }] });
  const [{ name, size }] = await running.done;
  return { name, size, matches: matches(file), others: others.length };
}
"""


def test_a_remembered_handle_gives_the_file_again_after_a_reload(
    host: Daemon, line: Line, blank: Callable[[str], Tab], write: Write
) -> None:
    name = write(0).name
    tab = blank(http(host, line.port))
    freeze(tab.page)
    line.hold(HELD)
    tab.page.evaluate(OPFS, name)
    line.wait_until_held()
    wait_until_remembered(tab.page)
    tab.page.reload()
    line.release()
    found = tab.page.evaluate(GO_ON)
    assert found == {"name": name, "size": SIZE, "matches": True, "others": 0}
    (resumed,) = logged(host, "upload.resumed", name=name)
    assert resumed["offset"] > 0
    content = b"".join(bytes([each]) * 1_000_000 for each in range(6))
    assert (host.directory / name).read_bytes() == content
    assert tab.page.evaluate(UNFINISHED, "/upload") == []


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_that_has_changed_since_begins_anew(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write, change: str
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    begin_held(line, page, path)
    begun = key_of(host, "upload.started", path)
    reload(page.page)
    line.release()
    if change == "size":
        path.write_bytes(path.read_bytes() + b"more")
    else:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    page.choose(path)
    page.expect_states(["stored"])
    check_stored_once(host, path)
    assert key_of(host, "upload.stored", path) != begun
    assert len(page.page.evaluate(UNFINISHED, "/")) == 1


@pytest.fixture
def two_pages(line: Line, new_tab: Callable[..., Tab]) -> TwoPages:
    """Call it with the name of the host for two pages of one profile."""

    def make(name: str) -> tuple[Page, Page]:
        tab = new_tab()
        tab.page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        pages = (tab.page, tab.context.new_page())
        for page in pages:
            freeze(page)
            page.goto(f"http://{name}:{line.port}/healthz")
            page.evaluate(ADD_CHOICE)
        return pages

    return make


def test_a_file_that_another_tab_is_sending_is_an_upload_of_its_own(
    host: Daemon, line: Line, two_pages: TwoPages, write: Write
) -> None:
    path = write(SIZE)
    first, second = two_pages("127.0.0.1")
    for page in (first, second):
        page.set_input_files("#files", path)
    line.hold(HELD)
    first.evaluate(START, REMEMBER)
    line.wait_until_held()
    wait_until_remembered(first)
    assert second.evaluate(UNFINISHED, "/upload") == []
    second.evaluate(START, REMEMBER)
    line.wait_until_held(2)
    line.release()
    for page in (first, second):
        assert page.evaluate("outcome") == UNTROUBLED
    names = [path.name, f"{path.stem} (1){path.suffix}"]
    assert {name for name in host.visible() if name.startswith(path.stem)} == {*names}
    for name in names:
        assert (host.directory / name).read_bytes() == path.read_bytes()
    assert not logged(host, "upload.resumed", name=path.name)
    assert not logged(host, "upload.taken_over", name=path.name)


def test_where_there_are_no_locks_the_newer_tab_goes_on_and_the_older_gives_up(
    host: Daemon, line: Line, two_pages: TwoPages, write: Write
) -> None:
    path = write(SIZE)
    older, newer = two_pages(PLAIN)
    assert not older.evaluate("isSecureContext || Boolean(navigator.locks)")
    for page in (older, newer):
        page.set_input_files("#files", path)
    line.hold(HELD)
    older.evaluate(START, REMEMBER)
    line.wait_until_held()
    wait_until_remembered(older)
    newer.evaluate(START, REMEMBER)
    host.wait_for("upload.resumed", name=path.name)
    line.release()
    assert newer.evaluate("outcome") == UNTROUBLED
    ((signal,),) = older.evaluate("outcome")["failure"]
    assert signal["code"] == "taken_over"
    check_stored_once(host, path)
    assert len(logged(host, "upload.taken_over", name=path.name)) == 1
    assert len(logged(host, "upload.resumed", name=path.name)) == 1
    assert newer.evaluate(UNFINISHED, "/upload") == []


def test_the_page_says_that_another_tab_goes_on(
    host: Daemon, line: Line, new_tab: Callable[..., Tab], write: Write
) -> None:
    path = write(SIZE)
    tab = new_tab()
    older = UploadPage(tab, f"http://{PLAIN}:{line.port}")
    begin_held(line, older, path)
    other = tab.context.new_page()
    other.goto(f"http://{PLAIN}:{line.port}/")
    other.set_input_files("#files", path)
    older.expect_states(["failed"])
    expect(older.status()).to_contain_text("Another tab")
    line.release()
    expect(other.locator("#uploads > li.upload")).to_have_attribute("data-state", "stored")
    check_stored_once(host, path)
