"""The upload page, as people use it."""

import filecmp
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from browser.line import Line
from browser.tab import UploadPage
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon
from playwright.sync_api import Dialog, expect

OpenPage = Callable[..., UploadPage]

MIB: Final = 1024 * 1024


@pytest.fixture
def page(host: Daemon, upload_page: OpenPage) -> UploadPage:
    return upload_page(host)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Call it to write a file; the name is one that nothing else has, unless it is given."""

    def make(size: int, name: str | None = None, *, seed: int = 0) -> Path:
        path = tmp_path / (name or unique_name())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some_bytes(size, seed))
        return path

    return make


Write = Callable[..., Path]


def check_stored(host: Daemon, paths: Sequence[Path]) -> None:
    for path in paths:
        assert filecmp.cmp(path, host.directory / path.name, shallow=False), path.name
        assert host.wait_for("upload.stored", name=path.name)["hash_verified"]


def test_a_chosen_file_is_stored_and_said_to_be_verified(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    path = write(3_000_000)
    expect(page.rows).to_have_count(0)
    page.choose(path)
    page.expect_states(["stored"])
    expect(page.status()).to_have_text("Stored, verified")
    expect(page.row().locator(".name")).to_contain_text(path.name)
    expect(page.row().locator(".size")).to_contain_text("M")
    expect(page.button("cancel")).to_be_hidden()
    expect(page.button("retry")).to_be_hidden()
    check_stored(host, [path])


def test_the_end_is_announced(page: UploadPage, write: Write) -> None:
    page.choose(write(1000))
    page.expect_states(["stored"])
    expect(page.page.locator("#announce")).to_have_attribute("role", "status")
    expect(page.page.locator("#announce")).not_to_be_empty()
    expect(page.page.locator("#total")).not_to_be_empty()


def test_the_same_file_can_be_chosen_again(host: Daemon, page: UploadPage, write: Write) -> None:
    path = write(1000)
    page.choose(path)
    page.expect_states(["stored"])
    page.choose(path)
    page.expect_states(["stored", "stored"])
    again = f"{path.stem} (1){path.suffix}"
    expect(page.status(1)).to_have_text(f"Stored, verified, as {again}")
    assert filecmp.cmp(path, host.directory / again, shallow=False)


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


def test_of_several_files_three_go_at_once_and_all_are_stored_in_order(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    paths = [write(300_000, seed=seed) for seed in range(10)]
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(*paths)
        page.expect_states(["sending"] * 3 + ["waiting"] * 7)
    finally:
        host.send_signal(signal.SIGCONT)
    page.expect_states(["stored"] * 10)
    for number, path in enumerate(paths):
        expect(page.row(number).locator(".name")).to_contain_text(path.name)
    check_stored(host, paths)
    # By the daemon's account too there were never more.
    names = {path.name for path in paths}
    steps = {"upload.started": 1, "upload.stored": -1}
    running = most = 0
    for entry in host.log():
        if entry["event"] in steps and entry["name"] in names:
            running += steps[entry["event"]]
            most = max(most, running)
    assert most == 3


def test_an_empty_file_is_stored(host: Daemon, page: UploadPage, write: Write) -> None:
    path = write(0)
    page.choose(path)
    page.expect_states(["stored"])
    expect(page.status()).to_have_text("Stored, verified")
    check_stored(host, [path])


def test_a_file_of_200_megabytes_is_stored(host: Daemon, page: UploadPage, tmp_path: Path) -> None:
    path = tmp_path / unique_name()
    block = some_bytes(MIB - 1)  # an odd length: no two chunks are the same
    with path.open("wb") as file:
        while file.tell() < 200 * MIB:
            file.write(block)
    page.choose(path)
    page.expect_state("stored", seconds=100)
    check_stored(host, [path])
    (host.directory / path.name).unlink()


def test_names_stay_as_they_are(host: Daemon, page: UploadPage, write: Write) -> None:
    names = ["Отчёт за май, последний.txt", "пляж 🏖️ 👩‍👩‍👧.jpg", "50% &lt;b&gt; 'it'.txt"]
    paths = [write(1000, name, seed=seed) for seed, name in enumerate(names)]
    page.choose(*paths)
    page.expect_states(["stored"] * 3)
    for number, name in enumerate(names):
        expect(page.row(number).locator(".name")).to_have_text(name)
        expect(page.status(number)).to_have_text("Stored, verified")
    check_stored(host, paths)


def test_markup_in_a_name_is_text(host: Daemon, page: UploadPage, write: Write) -> None:
    path = write(1000, "<img src=x onerror=alert(1)>.png")
    page.choose(path)
    page.expect_states(["stored"])
    expect(page.row().locator(".name")).to_contain_text(path.name)
    expect(page.page.locator("img")).to_have_count(0)
    stored = host.wait_for("upload.stored")["path"]
    expect(page.status()).to_have_text(f"Stored, verified, as {Path(stored).name}")
    assert filecmp.cmp(path, stored, shallow=False)


def test_of_two_files_of_one_name_the_second_says_its_new_one(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    name = unique_name()
    one, other = write(1000, f"one/{name}", seed=1), write(1000, f"other/{name}", seed=2)
    page.choose(one)
    page.expect_states(["stored"])
    page.choose(other)
    page.expect_states(["stored", "stored"])
    new = f"{one.stem} (1){one.suffix}"
    expect(page.status(0)).to_have_text("Stored, verified")
    expect(page.status(1)).to_have_text(f"Stored, verified, as {new}")
    assert filecmp.cmp(one, host.directory / name, shallow=False)
    assert filecmp.cmp(other, host.directory / new, shallow=False)


def test_a_cancelled_upload_leaves_nothing_and_a_retry_stores_it(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(20_000_000)
    page = upload_page(host, port=line.port)
    line.hold(1_000_000)
    page.choose(path)
    line.wait_until_held()
    page.expect_states(["sending"])
    page.button("cancel").click()
    page.expect_states(["cancelled"])
    expect(page.status()).to_have_text("Cancelled")
    line.release()
    host.wait_for("upload.failed", name=path.name)
    assert path.name not in host.visible()
    page.button("retry").click()
    page.expect_states(["stored"])
    expect(page.status()).to_have_text("Stored, verified")
    check_stored(host, [path])


def test_a_waiting_file_can_be_cancelled_and_is_never_sent(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    paths = [write(1000, seed=seed) for seed in range(4)]
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(*paths)
        page.expect_states(["sending", "sending", "sending", "waiting"])
        page.button("cancel", 3).click()
        page.expect_state("cancelled", 3)
    finally:
        host.send_signal(signal.SIGCONT)
    page.expect_states(["stored", "stored", "stored", "cancelled"])
    assert not host.find("upload.started", name=paths[3].name)


def test_a_file_above_the_limit_is_told_at_once_and_never_sent(
    daemon: Callable[..., Daemon], upload_page: OpenPage, write: Write
) -> None:
    host = daemon({"limits": {"max_file_size": "1MiB"}})
    page = upload_page(host)
    expect(page.page.locator("body")).to_have_attribute("data-max-file-size", str(MIB))
    expect(page.page.locator("#limit")).to_contain_text("1")
    fits, too_large = write(MIB, "fits.bin"), write(MIB + 1, "too large.bin")
    page.choose(too_large, fits)
    page.expect_states(["failed", "stored"])
    expect(page.status()).to_contain_text("1")
    check_stored(host, [fits])
    assert not host.find("upload.started", name="too large.bin")
    assert not host.find("upload.failed")
    # There is no use in sending the same again.
    expect(page.button("retry")).to_be_hidden()
    expect(page.button("cancel")).to_be_hidden()


def test_a_file_that_changed_on_the_way_fails_in_words_and_a_retry_stores_it(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    path = write(1_000_000)
    page = upload_page(host, port=line.port)
    line.flip(200_000)
    page.choose(path)
    page.expect_states(["failed"])
    failure = host.wait_for("upload.failed", name=path.name)
    assert failure["code"] == "hash_mismatch"
    expect(page.status()).to_contain_text("damaged on its way")
    assert path.name not in host.visible()
    line.flip(None)
    page.button("retry").click()
    page.expect_states(["stored"])
    check_stored(host, [path])


def test_a_daemon_that_dies_and_comes_back_gets_the_file_on_a_retry(
    daemon: Callable[..., Daemon], upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    path = write(20_000_000)
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        line.hold(1_000_000)
        page.choose(path)
        line.wait_until_held()
        host.kill()
        page.expect_states(["failed"])
        expect(page.status()).to_contain_text("connection")
        line.release()
        page.tab.expect_complaint("WebSocket connection to")
        page.tab.allow_complaint("Failed to load resource")  # the worker's script
        page.button("retry").click()
        page.expect_states(["failed"])  # nobody listens
        expect(page.status()).to_contain_text("cannot be reached")
        host.start()
        page.button("retry").click()
        page.expect_states(["stored"])
    check_stored(host, [path])


def test_a_daemon_that_falls_silent_fails_the_upload_in_words(
    host: Daemon, upload_page: OpenPage, write: Write
) -> None:
    page = upload_page(host)
    page.page.clock.install()
    path = write(1000)
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(path)
        page.expect_states(["sending"])
        page.page.clock.run_for(61_000)
        page.expect_states(["failed"])
    finally:
        host.send_signal(signal.SIGCONT)
    page.tab.expect_complaint("WebSocket is closed before the connection is established")
    expect(page.status()).to_contain_text("60 s")
    assert path.name not in host.visible()


def test_a_browser_that_is_offline_fails_the_upload_in_words(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    page.page.wait_for_load_state("networkidle")
    page.tab.context.set_offline(True)
    page.tab.expect_complaint("WebSocket connection to", "net::ERR_INTERNET_DISCONNECTED")
    path = write(1000)
    page.choose(path)
    page.expect_states(["failed"])
    expect(page.status()).to_contain_text("cannot be reached")
    page.tab.context.set_offline(False)
    page.button("retry").click()
    page.expect_states(["stored"])
    check_stored(host, [path])


def test_leaving_warns_while_an_upload_runs_and_not_after(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    page = upload_page(host, port=line.port)
    page.page.locator("h1").click()  # no page may warn that nobody has touched
    line.hold(1_000_000)
    path = write(20_000_000)
    page.choose(path)
    line.wait_until_held()
    with page.page.expect_event("dialog") as asked:
        page.page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    line.release()
    page.expect_states(["stored"])
    # A dialog would stay open, since nobody answers it here, and keep the page from closing.
    warned: list[Dialog] = []
    page.page.on("dialog", lambda each: warned.append(each))  # noqa: PLW0108  Playwright marks it
    with page.page.expect_event("close"):
        page.page.close(run_before_unload=True)
    assert not warned
    check_stored(host, [path])
