"""Files that are dropped or pasted onto the upload page, and folders."""

import filecmp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from browser.files import Write, check_stored
from browser.tab import Tab, UploadPage, http
from helpers.clients import unique_name
from helpers.daemon import Daemon
from playwright.sync_api import expect


def drag(page: UploadPage, kinds: Sequence[str], paths: Sequence[Path]) -> None:
    """What the browser does when files come from a file manager, down to real files."""
    session = page.tab.context.new_cdp_session(page.page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    # The heading: nowhere near the zone, since the whole document takes files.
    box = page.page.locator("h1").bounding_box()
    assert box is not None
    for kind in kinds:
        event = {"type": kind, "x": box["x"] + 2, "y": box["y"] + 2, "data": data}
        session.send("Input.dispatchDragEvent", event)


def test_dropped_files_are_stored(host: Daemon, page: UploadPage, write: Write) -> None:
    paths = [write(2_000_000), write(1, seed=1)]
    drag(page, ["dragEnter", "dragOver"], paths)
    zone = page.page.locator("#drop")
    expect(zone).to_have_attribute("data-over", "")
    drag(page, ["drop"], paths)
    page.expect_states(["stored", "stored"])
    expect(page.page.locator("#drop[data-over]")).to_have_count(0)
    check_stored(host, paths)


def test_a_drag_that_leaves_uploads_nothing(page: UploadPage, write: Write) -> None:
    drag(page, ["dragEnter", "dragOver"], [write(1)])
    expect(page.page.locator("#drop[data-over]")).to_have_count(1)
    # Chromium's own dragCancel reaches no page, so the event is made here.
    page.page.locator("body").dispatch_event("dragleave", {"bubbles": True})
    expect(page.page.locator("#drop[data-over]")).to_have_count(0)
    expect(page.rows).to_have_count(0)


def check_in_folders(host: Daemon, root: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        stored = host.directory / path.relative_to(root)
        assert filecmp.cmp(path, stored, shallow=False), path.name


def test_a_dropped_folder_is_stored(
    host: Daemon, page: UploadPage, write: Write, tmp_path: Path
) -> None:
    paths = [write(1000, f"dropped/{unique_name()}"), write(2000, f"dropped/in/{unique_name()}")]
    drag(page, ["dragEnter", "dragOver", "drop"], [tmp_path / "dropped"])
    page.expect_states(["stored", "stored"])
    check_in_folders(host, tmp_path, paths)


def test_a_chosen_folder_is_stored(
    host: Daemon, page: UploadPage, write: Write, tmp_path: Path
) -> None:
    paths = [write(1000, f"chosen/{unique_name()}"), write(2000, f"chosen/in/{unique_name()}")]
    page.page.set_input_files("#folder", tmp_path / "chosen")
    page.expect_states(["stored", "stored"])
    check_in_folders(host, tmp_path, paths)


PICKER: Final = """\
globalThis.picked = 0;
globalThis.showOpenFilePicker = async ({ multiple }) => {
  picked += 1;
  if (picked === 1) throw new DOMException("The user cancelled it.", "AbortError");
  const folder = await navigator.storage.getDirectory();
  const handles = [];
  for (const name of NAMES) {
    const handle = await folder.getFileHandle(name, { create: true });
    const stream = await handle.createWritable();
    await stream.write(new Uint8Array(1000).fill(7));
    await stream.close();
    handles.push(handle);
  }
  await folder.removeEntry(NAMES[0]);
  return multiple ? handles : [];
};
"""


def test_files_are_picked_where_the_browser_gives_handles(
    host: Daemon, new_tab: Callable[..., Tab]
) -> None:
    names = [unique_name() for _ in range(3)]
    tab = new_tab()
    tab.context.add_init_script(f"const NAMES = {names};{PICKER}")
    page = UploadPage(tab, http(host))
    choose = page.page.get_by_text("Choose files")
    notice = page.page.locator("#notice")
    choose.click()
    page.page.wait_for_function("() => picked === 1")
    choose.click()
    page.expect_states(["stored", "stored"])
    expect(notice).to_have_text("1 item could not be read and will not be sent.")
    for name in names[1:]:
        assert (host.directory / name).read_bytes() == bytes([7]) * 1000


def test_where_the_picker_is_not_permitted_the_input_is_used(
    host: Daemon, new_tab: Callable[..., Tab], write: Write
) -> None:
    tab = new_tab()
    refuse = "throw new DOMException('No.', 'SecurityError')"
    tab.context.add_init_script(f"globalThis.showOpenFilePicker = async () => {{ {refuse}; }}")
    page = UploadPage(tab, http(host))
    paths = [write(1000, seed=seed) for seed in range(2)]
    for number, path in enumerate(paths):
        with page.page.expect_file_chooser() as opened:
            page.page.get_by_text("Choose files").click()
        opened.value.set_files(path)
        page.expect_state("stored", number)
    check_stored(host, paths)


def test_a_dropped_file_has_a_handle(page: UploadPage, write: Write) -> None:
    page.page.evaluate(
        """() => {
          const { getAsFileSystemHandle } = DataTransferItem.prototype;
          DataTransferItem.prototype.getAsFileSystemHandle = function () {
            globalThis.handle = getAsFileSystemHandle.call(this);
            return globalThis.handle;
          };
        }"""
    )
    path = write(1000)
    drag(page, ["dragEnter", "dragOver", "drop"], [path])
    page.expect_states(["stored"])
    assert page.page.evaluate("handle.then(({ kind, name }) => [kind, name])") == [
        "file",
        path.name,
    ]


PASTE: Final = """\
(name) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(1000).fill(7)], name));
  const event = { clipboardData: data, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new ClipboardEvent("paste", event));
}
"""


def test_a_pasted_file_is_stored(host: Daemon, page: UploadPage) -> None:
    name = unique_name()
    page.page.evaluate(PASTE, name)
    page.expect_states(["stored"])
    assert (host.directory / name).read_bytes() == bytes([7]) * 1000


def test_pasted_text_is_left_alone(page: UploadPage) -> None:
    prevented = page.page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text/plain", "words");
          const event = { clipboardData: data, bubbles: true, cancelable: true };
          return !document.body.dispatchEvent(new ClipboardEvent("paste", event));
        }"""
    )
    assert not prevented
    expect(page.rows).to_have_count(0)
