"""The upload page for those who do not see it, or use no mouse."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from browser.line import Line
from browser.scenes import SCENES, play
from browser.tab import NO_PICKER, OpenPage, Tab, UploadPage, http
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, poll
from playwright.sync_api import FileChooser, expect

STATES: Final = {
    "empty": [],
    "running": ["stored", "stored", "sending", "checking", "sending", "waiting"],
    "done": ["stored"] * 4,
    "failed": ["stored", "failed", "failed", "failed"],
    "cancelled": ["stored", "cancelled", "cancelled"],
    "paused": ["stored", "paused", "failed", "paused", "paused"],
    "outage": ["stored", "interrupted", "interrupted", "interrupted", "waiting"],
    "unfinished": [],
    "folders": [
        *("skipped", "skipped", "stored", "replaced"),
        *("stored", "skipped", "stored", "sending"),
    ],
}


@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(
    host: Daemon, new_tab: Callable[..., Tab], tmp_path: Path, scene: str
) -> None:
    tab = new_tab(reduced_motion="reduce")
    page = play(tab, http(host), scene, tmp_path)
    page.expect_states(STATES[scene])
    tab.page.clock.resume()  # axe waits for timers
    found = []
    for scheme, width in product(("light", "dark"), (900, 360)):
        tab.page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        tab.page.set_viewport_size({"width": width, "height": 640})
        results = Axe().run(tab.page).response
        assert results["passes"]
        found += [(scheme, width, each["id"], each["nodes"]) for each in results["violations"]]
    assert not found
    tab.page.set_viewport_size({"width": 320, "height": 640})
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 320


def press_tab_until(page: UploadPage, selector: str) -> None:
    """Go on from control to control; the page has but a few."""
    for _ in range(12):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
    raise AssertionError(f"the Tab key never comes to {selector}")


def open_chooser(page: UploadPage) -> FileChooser:
    """Press Enter, and give the dialog in which files are chosen."""
    choosers: list[FileChooser] = []
    page.page.on("filechooser", lambda each: choosers.append(each))  # noqa: PLW0108  Playwright marks it
    page.page.evaluate("0")  # by the answer Playwright has told the browser to show no dialog
    page.page.keyboard.press("Enter")
    return poll("a dialog", lambda: page.page.evaluate("0") == 0 and choosers)[0]


def focus(page: UploadPage) -> str:
    """What has the focus, as the part of a row that it is, or its element's name."""
    return str(
        page.page.evaluate(
            "document.activeElement.closest('.upload')"
            " ? document.activeElement.name ?? document.activeElement.className"
            " : document.activeElement.nodeName"
        )
    )


def test_all_can_be_done_with_the_keyboard(
    host: Daemon, line: Line, new_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(20_000_000))
    tab = new_tab()
    tab.context.add_init_script(NO_PICKER)
    page = UploadPage(tab, http(host, line.port))
    keyboard = page.page.keyboard
    line.hold(1_000_000)

    press_tab_until(page, "#files")
    chooser = open_chooser(page)
    assert chooser.is_multiple()
    chooser.set_files(path)
    line.wait_until_held()
    page.expect_states(["sending"])

    press_tab_until(page, "#uploads button[name=cancel]")
    keyboard.press("Enter")
    page.expect_states(["cancelled"])
    assert focus(page) == "retry"

    line.release()
    keyboard.press("Enter")
    page.expect_states(["stored"])
    assert focus(page) == "name"
    assert (host.directory / path.name).read_bytes() == path.read_bytes()


def test_the_folder_can_be_chosen_with_the_keyboard(host: Daemon, upload_page: OpenPage) -> None:
    page = upload_page(host)
    press_tab_until(page, "#folder")
    assert open_chooser(page).element.get_attribute("id") == "folder"


def test_a_screen_reader_hears_the_end_and_what_each_control_is_for(
    host: Daemon, new_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    tab = new_tab()
    page = play(tab, http(host), "running", tmp_path)
    expect(page.page.locator("#announce")).to_contain_text("2 stored")
    names = [name for name in SCENES["running"] if name]
    expect(page.page.get_by_role("progressbar", name=names[2])).to_be_visible()
    expect(page.page.get_by_role("button", name=f"Cancel {names[2]}")).to_be_visible()
    expect(page.page.get_by_role("list", name="Uploads").get_by_role("listitem")).to_have_count(6)
