"""The upload page, as people use it."""

import filecmp
import signal
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from browser.files import MIB, Write, check_stored
from browser.line import Line
from browser.tab import OpenPage, UploadPage
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon
from playwright.sync_api import Dialog, expect


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
    # On each connection, one is stored while the next is sent.
    names = {path.name for path in paths}
    steps = {"upload.started": 1, "upload.stored": -1}
    changes = [
        steps[entry["event"]]
        for entry in host.log()
        if entry["event"] in steps and entry["name"] in names
    ]
    assert max(accumulate(changes)) <= 6


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
