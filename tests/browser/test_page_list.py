"""The list of the upload page: its order, what of it is shown, and what is removed from it."""

import signal
from pathlib import Path
from typing import Final

from browser.files import Write, check_stored
from browser.line import Line
from browser.tab import OpenPage, UploadPage
from helpers.clients import unique_name
from helpers.daemon import Daemon, Daemons, poll
from playwright.sync_api import expect

NAMES_FROM_THE_TOP: Final = """\
rows => rows.filter((row) => row.checkVisibility())
  .sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top)
  .map((row) => row.querySelector(".name").textContent)
"""

MAKE_FILES: Final = """\
(count) => {
  const data = new DataTransfer();
  for (let i = 0; i < count; i++) data.items.add(new File(["x"], `${i}.txt`));
  document.querySelector("#files").files = data.files;
  document.querySelector("#files").dispatchEvent(new Event("change"));
}
"""


def names_from_the_top(page: UploadPage) -> list[str]:
    names: list[str] = page.rows.evaluate_all(NAMES_FROM_THE_TOP)
    return names


def expect_order(page: UploadPage, *paths: Path) -> None:
    """Wait until these are the rows from the top."""
    expected = [path.name for path in paths]
    poll(f"the order {expected}", lambda: names_from_the_top(page) == expected)


def test_what_runs_is_at_the_top_and_what_has_ended_at_the_bottom(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon({"limits": {"max_file_size": "100MiB"}})
    small = [write(10, seed=seed) for seed in range(4)]
    large = write(20_000_000)
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        page.choose(*small)
        page.expect_states(["stored"] * 4)
        line.hold(1_000_000)
        page.choose(large)
        page.expect_state("sending", 4)
        expect_order(page, large, *small)
        names = page.rows.locator(".name")
        expect(names).to_have_text([path.name for path in (*small, large)])
        line.release()
        page.expect_state("stored", 4)
    expect_order(page, *small, large)
    check_stored(host, [*small, large])


def test_what_failed_is_above_what_waits(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon({"limits": {"max_file_size": 1000}})
    page = upload_page(host)
    paths = [write(10, seed=seed) for seed in range(4)]
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(*paths)
        page.expect_states(["sending"] * 3 + ["waiting"])
        too_large = write(1001)
        page.choose(too_large)
        expect_order(page, *paths[:3], too_large, paths[3])
    finally:
        host.send_signal(signal.SIGCONT)
    page.expect_states(["stored"] * 4 + ["failed"])
    expect_order(page, too_large, *paths)


def test_no_row_moves_below_the_pointer(host: Daemon, page: UploadPage, write: Write) -> None:
    page.page.clock.install()
    paths = [write(10, seed=seed) for seed in range(4)]
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(*paths)
        page.page.clock.run_for(1_000)
        page.expect_states(["sending"] * 3 + ["waiting"])
        page.button("cancel", 3).hover()
        page.page.clock.run_for(1_500)
        page.button("cancel", 1).hover()
        page.button("cancel", 1).click()
        page.page.clock.run_for(1_500)
        page.expect_state("cancelled", 1)
        assert names_from_the_top(page) == [path.name for path in paths]
        page.page.clock.run_for(1_000)
        expect_order(page, paths[0], paths[2], paths[3], paths[1])
    finally:
        host.send_signal(signal.SIGCONT)


def test_of_many_files_two_hundred_are_shown_until_all_are_wanted(
    host: Daemon, page: UploadPage
) -> None:
    host.send_signal(signal.SIGSTOP)
    try:
        page.page.evaluate(MAKE_FILES, 1_250)
        expect(page.rows).to_have_count(1_250)
        expect(page.page.locator("#unseen")).to_have_text("1,050 more files.")
        expect(page.rows.filter(visible=True)).to_have_count(200)
        page.page.get_by_role("button", name="Show all").click()
        expect(page.rows.filter(visible=True)).to_have_count(1_250)
        expect(page.page.locator("#more")).to_be_hidden()
        expect(page.page.locator("#total")).to_be_focused()
        page.page.get_by_role("button", name="Cancel all").click()
        expect(page.page.locator("#count")).to_have_text("0 of 1,250 stored, 1,250 cancelled")
    finally:
        host.send_signal(signal.SIGCONT)
    page.tab.allow_complaint("WebSocket is closed before the connection is established")


def test_the_row_says_which_folder_its_file_is_from(
    page: UploadPage, write: Write, tmp_path: Path
) -> None:
    deep = f"<b>x/{'a' * 40}/{'b' * 60}/רשימה"
    write(1, f"top/{unique_name()}")
    write(1, f"top/{deep}/{unique_name()}")
    page.page.set_input_files("#folder", tmp_path / "top")
    page.expect_states(["stored", "stored"])
    page.choose(write(1))
    page.expect_state("stored", 2)
    folders = page.rows.locator(".folder")
    expect(folders.filter(visible=True)).to_have_count(2)
    shown = dict(
        zip(
            folders.evaluate_all("all => all.map((each) => each.title)"),
            folders.all_text_contents(),
            strict=True,
        )
    )
    assert shown == {"top": "top", f"top/{deep}": "top/…/רשימה", "": ""}


def test_finished_uploads_are_cleared_and_what_failed_stays(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon({"limits": {"max_file_size": 1000}})
    page = upload_page(host)
    clear = page.page.get_by_role("button", name="Clear finished")
    fits, too_large = write(1000), write(1001)
    page.choose(too_large)
    page.expect_states(["failed"])
    expect(clear).to_be_hidden()
    page.choose(fits)
    page.expect_states(["failed", "stored"])
    clear.click()
    page.expect_states(["failed"])
    expect(page.row().locator(".name")).to_have_text(too_large.name)
    expect(page.page.locator("#count")).to_have_text("0 of 1 stored, 1 failed")
    expect(clear).to_be_hidden()
    expect(page.page.locator("#total")).to_be_focused()


def test_nothing_is_left_where_all_is_cleared(page: UploadPage, write: Write) -> None:
    page.choose(write(10))
    page.expect_states(["stored"])
    page.page.get_by_role("button", name="Clear finished").click()
    expect(page.rows).to_have_count(0)
    expect(page.page.locator("#summary")).to_be_hidden()
    expect(page.page.locator("#files")).to_be_focused()
    page.choose(write(10))
    page.expect_states(["stored"])
    expect(page.page.locator("#count")).to_have_text("1 of 1 stored")
