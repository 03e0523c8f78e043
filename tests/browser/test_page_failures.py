"""Uploads from the page that are cancelled or fail, and their retries."""

import signal
from collections.abc import Callable

import pytest
from browser.files import Write, check_stored
from browser.line import Line
from browser.tab import OpenPage, UploadPage
from helpers.daemon import Daemon
from helpers.hooks import HookReceiver, answer
from playwright.sync_api import expect


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
    host.wait_for("upload.abandoned", name=path.name)
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
    expect(page.status()).to_contain_text("damaged during the transfer")
    assert path.name not in host.visible()
    line.flip(None)
    page.button("retry").click()
    page.expect_states(["stored"])
    check_stored(host, [path])


@pytest.mark.parametrize("length", [1000, 2_000_000])
def test_a_refusal_of_the_application_is_shown_in_its_words(
    daemon: Callable[..., Daemon], upload_page: OpenPage, write: Write, length: int
) -> None:
    refusal = answer({"admit": False, "reason": "The album <b>June</b> is closed."})
    paths = [write(length, seed=seed) for seed in range(3)]
    with HookReceiver(refusal) as receiver:
        host = daemon({"hooks": {"admit": receiver.origin}})
        page = upload_page(host)
        page.choose(*paths)
        page.expect_states(["failed"] * 3)
        expect(page.status()).to_have_text("The album <b>June</b> is closed.")
    assert len(receiver.posted) == 3, "none is tried again"


def test_a_daemon_that_dies_and_comes_back_gets_the_rest_of_the_file(
    daemon: Callable[..., Daemon], upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    path = write(20_000_000)
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        line.hold(10_000_000)
        page.choose(path)
        line.wait_until_held()
        host.kill()
        page.expect_states(["interrupted"])
        line.release()
        page.tab.allow_complaint("WebSocket connection to")
        host.start()
        page.expect_states(["stored"])
        assert host.wait_for("upload.resumed", name=path.name)["offset"] > 0
    check_stored(host, [path])


def test_a_daemon_that_does_not_answer_is_waited_for(
    host: Daemon, upload_page: OpenPage, write: Write
) -> None:
    page = upload_page(host)
    page.page.clock.install()
    path = write(1000)
    host.send_signal(signal.SIGSTOP)
    try:
        page.choose(path)
        page.expect_states(["sending"])
        page.page.clock.run_for(11_000)
        page.expect_states(["waiting"])
    finally:
        host.send_signal(signal.SIGCONT)
    page.tab.expect_complaint("WebSocket is closed before the connection is established")
    page.page.clock.run_for(1_000)
    page.expect_states(["stored"])
    check_stored(host, [path])


def test_a_browser_that_is_offline_sends_the_file_when_it_is_online(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    page.page.wait_for_load_state("networkidle")
    page.tab.context.set_offline(True)
    page.tab.expect_complaint("WebSocket connection to", "net::ERR_INTERNET_DISCONNECTED")
    path = write(1000)
    page.choose(path)
    page.expect_states(["waiting"])
    page.tab.context.set_offline(False)
    page.expect_states(["stored"])
    check_stored(host, [path])


def test_what_failed_can_be_retried_while_others_are_sent(
    host: Daemon, line: Line, upload_page: OpenPage, write: Write
) -> None:
    damaged, large = write(1_000_000), write(20_000_000)
    page = upload_page(host, port=line.port)
    retry = page.page.get_by_role("button", name="Retry failed")
    line.flip(200_000)
    page.choose(damaged)
    page.expect_states(["failed"])
    line.flip(None)
    line.hold(2_000_000)
    page.choose(large)
    line.wait_until_held()
    page.expect_states(["failed", "sending"])
    retry.click()
    page.expect_states(["stored", "sending"])
    expect(retry).to_be_hidden()
    expect(page.page.get_by_role("progressbar", name="Progress of all files")).to_be_visible()
    line.release()
    page.expect_states(["stored", "stored"])
    expect(page.page.locator("#overall")).to_be_hidden()
    check_stored(host, [damaged, large])
