"""Files that are dropped or pasted onto the upload page, and folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from browser.files import Write, check_stored
from browser.tab import UploadPage
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


def test_a_dropped_folder_is_stored(
    host: Daemon, page: UploadPage, write: Write, tmp_path: Path
) -> None:
    paths = [write(1000, f"dropped/{unique_name()}"), write(2000, f"dropped/in/{unique_name()}")]
    drag(page, ["dragEnter", "dragOver", "drop"], [tmp_path / "dropped"])
    page.expect_states(["stored", "stored"])
    check_stored(host, paths)


def test_a_chosen_folder_is_stored(
    host: Daemon, page: UploadPage, write: Write, tmp_path: Path
) -> None:
    paths = [write(1000, f"chosen/{unique_name()}"), write(2000, f"chosen/in/{unique_name()}")]
    page.page.set_input_files("#folder", tmp_path / "chosen")
    page.expect_states(["stored", "stored"])
    check_stored(host, paths)


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
