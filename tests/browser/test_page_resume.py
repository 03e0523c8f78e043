"""Uploads from the page that are paused, interrupted, or left unfinished by an earlier page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from browser.files import Write, check_stored
from browser.line import Line
from browser.tab import PICK, OpenPage, Tab, UploadPage, http
from helpers.clients import unique_name
from helpers.credentials import Office
from helpers.daemon import Daemon, Daemons, poll
from playwright.sync_api import Locator, Page, expect

SIZE: Final = 30_000_000
SOME: Final = 3_000_000

TITLE: Final = "Upload files"

COUNT_LOSSES: Final = """\
() => {
  globalThis.losses = 0;
  const count = () => { losses += announce.textContent.includes("continue by themselves"); };
  const announce = document.querySelector("#announce");
  new MutationObserver(count).observe(announce, { childList: true });
}
"""


class Begun:
    """The page's list of unfinished uploads."""

    def __init__(self, page: Page) -> None:
        self.section = page.locator("#unfinished")
        self.rows = self.section.locator("li")
        self.status = self.rows.locator(".status")

    def button(self, name: str) -> Locator:
        return self.rows.get_by_role("button", name=name)


def resumed_at(host: Daemon, name: str) -> int:
    offset: int = host.wait_for("upload.resumed", name=name)["offset"]
    return offset


def test_an_upload_that_is_paused_continues_where_it_was(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    line.hold(SOME)
    page.choose(path)
    line.wait_until_held()
    page.button("pause").click()
    page.expect_states(["paused"])
    expect(page.status()).to_have_text(re.compile(r"^Paused at \d+%$"))
    expect(page.button("resume")).to_be_focused()
    assert page.page.title() == f"Paused · {TITLE}"
    line.release()
    host.wait_for("upload.kept", name=path.name)
    page.button("resume").click()
    page.expect_states(["stored"])
    assert resumed_at(host, path.name) > 0
    check_stored(host, [path])


def test_all_are_paused_and_files_that_wait_are_not_begun(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    paths = [write(SIZE, seed=seed) for seed in range(4)]
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        line.hold(SOME)
        page.choose(*paths)
        line.wait_until_held(3)
        page.page.get_by_role("button", name="Pause all").click()
        page.expect_states(["paused"] * 4)
        expect(page.page.get_by_role("button", name="Resume all")).to_be_focused()
        expect(page.page.locator("#amount")).to_contain_text("paused")
        line.release()
        page.choose(later := write(10))
        page.expect_states(["paused"] * 4 + ["stored"])
        page.page.get_by_role("button", name="Resume all").click()
        page.expect_states(["stored"] * 5)
    check_stored(host, [*paths, later])


def test_a_paused_upload_that_is_cancelled_is_discarded_by_the_server(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    line.hold(SOME)
    page.choose(path)
    line.wait_until_held()
    page.button("pause").click()
    page.expect_states(["paused"])
    line.release()
    host.wait_for("upload.kept", name=path.name)
    page.button("cancel").click()
    page.expect_states(["cancelled"])
    host.wait_for("upload.abandoned", name=path.name)


def test_an_outage_is_told_and_announced_once(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    path = write(SIZE)
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        page.tab.allow_complaint("WebSocket connection to")
        outage = page.page.locator("#outage")
        page.page.evaluate(COUNT_LOSSES)
        line.hold(SOME)
        page.choose(path)
        line.wait_until_held()
        expect(outage).to_be_hidden()
        host.kill()
        page.expect_states(["interrupted"])
        expect(page.status()).to_have_text(
            re.compile(r"^Interrupted at \d+%, continues by itself$")
        )
        reason = "(Connection lost|The server cannot be reached)"
        again = r"(Trying again in \d+ s\.|Connecting again…)"
        expect(outage).to_have_text(re.compile(rf"^{reason}\. {again}"))
        expect(page.page).to_have_title(re.compile(rf"^{reason} · {TITLE}$"))
        expect(outage).to_contain_text("again in 3 s.")  # by then it has tried several times
        expect(page.page.locator("#amount")).not_to_contain_text("left")
        line.release()
        host.start()
        page.expect_states(["stored"])
    expect(outage).to_be_hidden()
    expect(page.page).to_have_title(TITLE)
    assert page.page.evaluate("losses") == 1
    check_stored(host, [path])


def test_no_outage_is_told_while_all_is_paused(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        page.tab.allow_complaint("WebSocket connection to")
        line.hold(SOME)
        page.choose(write(SIZE))
        line.wait_until_held()
        host.kill()
        page.expect_states(["interrupted"])
        page.button("pause").click()
        page.expect_states(["paused"])
        expect(page.page.locator("#outage")).to_be_hidden()


def leave_unfinished(page: UploadPage, line: Line, choose: Callable[[], None]) -> Begun:
    """Load the page again while the file that is chosen is being sent."""
    line.hold(SOME)
    choose()
    line.wait_until_held()
    poll("it to be remembered", page.remembered)
    page.page.reload()
    line.release()
    begun = Begun(page.page)
    expect(begun.rows).to_have_count(1)
    expect(page.page.get_by_role("region", name="Unfinished uploads")).to_be_visible()
    return begun


def test_an_upload_continues_after_a_reload_when_its_file_is_chosen_again(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    begun = leave_unfinished(page, line, lambda: page.choose(path))
    expect(begun.rows.locator(".name")).to_have_text(path.name)
    hint = re.compile(r"^\d+% sent\. Choose or drop this file again to continue\.$")
    expect(begun.status).to_have_text(hint)
    expect(begun.button("Continue")).to_be_hidden()
    host.wait_for("upload.kept", name=path.name)
    page.choose(write(10))
    page.expect_states(["stored"])
    expect(begun.rows).to_have_count(1)
    page.choose(path)
    expect(begun.section).to_be_hidden()
    page.expect_states(["stored", "stored"])
    assert resumed_at(host, path.name) > 0
    check_stored(host, [path])
    page.page.reload()
    expect(page.page.locator("#drop")).to_be_visible()
    expect(begun.section).to_be_hidden()


@pytest.fixture
def picked(host: Daemon, line: Line, upload_page: OpenPage) -> tuple[Begun, str]:
    """An unfinished upload whose file has a handle."""
    page = upload_page(host, port=line.port)
    name = unique_name()
    page.page.evaluate(PICK, {"name": name, "size": SIZE})
    choose = page.page.get_by_text("Choose files")
    return leave_unfinished(page, line, choose.click), name


def test_with_a_handle_the_upload_continues_by_a_button(
    host: Daemon, picked: tuple[Begun, str]
) -> None:
    begun, name = picked
    expect(begun.status).to_have_text(re.compile(r"^\d+% sent$"))
    host.wait_for("upload.kept", name=name)
    begun.button("Continue").click()
    expect(begun.section).to_be_hidden()
    stored = host.wait_for("upload.stored", name=name)
    assert stored["size"] == SIZE
    assert resumed_at(host, name) > 0


CHANGE: Final = """\
async (name) => {
  const folder = await navigator.storage.getDirectory();
  const stream = await (await folder.getFileHandle(name)).createWritable();
  await stream.write("other");
  await stream.close();
}
"""

REMOVE: Final = "async (name) => (await navigator.storage.getDirectory()).removeEntry(name)"

FORBID: Final = "() => { FileSystemHandle.prototype.requestPermission = async () => 'denied'; }"


@pytest.mark.parametrize(
    ("what", "said"),
    [(CHANGE, "has changed"), (REMOVE, "not there any more"), (FORBID, "may not be read")],
)
def test_a_file_that_cannot_be_continued_says_why(
    picked: tuple[Begun, str], what: str, said: str
) -> None:
    begun, name = picked
    begun.section.page.evaluate(what, name)
    begun.button("Continue").click()
    expect(begun.status).to_contain_text(said)
    expect(begun.button("Discard")).to_be_enabled()


def test_an_unfinished_upload_is_discarded(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(SIZE)
    page = upload_page(host, port=line.port)
    begun = leave_unfinished(page, line, lambda: page.choose(path))
    host.wait_for("upload.kept", name=path.name)
    begun.button("Discard").click()
    expect(begun.section).to_be_hidden()
    host.wait_for("upload.abandoned", name=path.name)
    page.page.reload()
    expect(page.page.locator("#drop")).to_be_visible()
    expect(begun.section).to_be_hidden()


def test_an_upload_of_a_user_is_discarded_with_the_token(
    new_tab: Callable[..., Tab], write: Write, tmp_path: Path
) -> None:
    office = Office(tmp_path / "office", "token")
    token = office.token("anna")
    with office.host as host, Line(host) as line:
        host.start()
        path = write(SIZE)
        page = UploadPage(new_tab(), http(host, line.port), f"#token={token}")
        begun = leave_unfinished(page, line, lambda: page.choose(path))
        host.wait_for("upload.kept", name=path.name)
        begun.button("Discard").click()
        expect(begun.status).to_contain_text("token")
        page.page.get_by_label("Token", exact=True).fill(token)
        page.page.get_by_role("button", name="Use this token").click()
        begun.button("Discard").click()
        expect(begun.section).to_be_hidden()
        host.wait_for("upload.abandoned", name=path.name)


def test_continue_that_is_clicked_twice_continues_once(
    host: Daemon, picked: tuple[Begun, str]
) -> None:
    begun, name = picked
    page = begun.section.page
    host.wait_for("upload.kept", name=name)
    begun.button("Continue").dblclick()
    expect(begun.section).to_be_hidden()
    host.wait_for("upload.stored", name=name)
    expect(page.locator("#uploads > li.upload")).to_have_count(1)
    stored = [line for line in host.log() if line["event"] == "upload.stored"]
    assert [line["name"] for line in stored].count(name) == 1


@pytest.fixture
def twice(picked: tuple[Begun, str]) -> tuple[Begun, Begun]:
    """An unfinished upload whose file has a handle, in the lists of two tabs."""
    begun, _ = picked
    page = begun.section.page.context.new_page()
    page.goto(begun.section.page.url)
    other = Begun(page)
    expect(other.rows).to_have_count(1)
    return begun, other


def test_what_has_ended_in_another_tab_is_not_sent_again(
    host: Daemon, picked: tuple[Begun, str], twice: tuple[Begun, Begun]
) -> None:
    _, name = picked
    begun, other = twice
    other.button("Continue").click()
    host.wait_for("upload.stored", name=name)
    expect(other.section.page.locator("#uploads")).to_contain_text("Stored")
    begun.button("Continue").click()
    expect(begun.status).to_contain_text("another tab")
    expect(begun.section.page.locator("#uploads > li.upload")).to_have_count(0)
    begun.button("Discard").click()
    expect(begun.section).to_be_hidden()


def test_what_another_tab_is_sending_is_not_discarded(
    host: Daemon, line: Line, picked: tuple[Begun, str], twice: tuple[Begun, Begun]
) -> None:
    _, name = picked
    begun, other = twice
    host.wait_for("upload.kept", name=name)
    line.hold(SOME)
    other.button("Continue").click()
    line.wait_until_held()
    begun.button("Discard").click()
    expect(begun.status).to_contain_text("Another tab")
    begun.button("Continue").click()
    expect(begun.status).to_contain_text("in another tab")
    line.release()
    host.wait_for("upload.stored", name=name)
    assert resumed_at(host, name) > 0
