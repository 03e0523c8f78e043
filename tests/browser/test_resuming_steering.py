"""Uploads that are paused, resumed and cancelled, also while they are interrupted."""

from collections.abc import Callable
from typing import Final

import pytest
from browser.files import Write
from browser.line import Line
from browser.resuming import (
    RECONNECTING,
    START,
    UNTROUBLED,
    check_stored_once,
    choose,
    logged,
)
from browser.tab import OpenPage, Tab, http
from helpers.daemon import Daemon, Daemons, poll

BlankPage = Callable[[str], Tab]

HELD: Final = 3_000_000
SIZE: Final = 20_000_000
"""More than the buffers on the way take in: what is sent to its last byte is not paused."""

STATES: Final = "running.files.map(({ state }) => state)"


def wait_for_states(tab: Tab, *states: str) -> None:
    poll(f"states {states}", lambda: tab.page.evaluate(STATES) == [*states])


@pytest.fixture
def host(daemon: Daemons) -> Daemon:
    """A daemon of the test's own, whose spool nothing else uses."""
    return daemon()


@pytest.fixture
def tab(host: Daemon, line: Line, blank: BlankPage) -> Tab:
    return blank(http(host, line.port))


def wait_until_abandoned(host: Daemon, name: str) -> None:
    host.wait_for("upload.abandoned", name=name)
    poll("an empty spool", lambda: not host.spooled())
    assert name not in host.visible()


def test_a_paused_file_gives_way_to_the_others_and_goes_on_when_it_is_resumed(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    large, *small = paths = [write(SIZE), *(write(1000 * each, seed=each) for each in range(20))]
    choose(tab, *paths)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll", "connections": 1})
    line.wait_until_held()
    tab.page.evaluate("running.files[0].pause()")
    wait_for_states(tab, "paused", *["stored"] * len(small))
    assert tab.page.evaluate("running.active && running.files[0].sent > 0")
    line.release()
    for path in small:
        check_stored_once(host, path)
    host.wait_for("upload.kept", name=large.name)
    assert large.name not in host.visible()
    tab.page.evaluate("running.files[0].resume()")
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, large)
    assert host.wait_for("upload.resumed", name=large.name)["offset"] > 0


def test_all_are_paused_and_no_connection_is_left_until_all_are_resumed(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    paths = [write(SIZE, seed=seed) for seed in range(3)] + [write(100, seed=9), write(0)]
    choose(tab, *paths)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll"})
    line.wait_until_held(3)
    tab.page.evaluate("running.pause()")
    wait_for_states(tab, *["paused"] * len(paths))
    line.release()
    for path in paths[:3]:
        host.wait_for("upload.kept", name=path.name)
    tab.page.evaluate("running.resume()")
    assert tab.page.evaluate("outcome") == UNTROUBLED
    for path in paths:
        check_stored_once(host, path)
    for path in paths[:3]:
        assert host.wait_for("upload.resumed", name=path.name)["offset"] > 0


def test_a_file_added_during_a_pause_is_sent(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    paths = [write(SIZE), write(1000, seed=1)]
    choose(tab, *paths)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll", "files": []})
    tab.page.evaluate("running.add([document.querySelector('#files').files[0]])")
    line.wait_until_held()
    tab.page.evaluate("running.pause()")
    tab.page.evaluate("running.add([document.querySelector('#files').files[1]])")
    wait_for_states(tab, "paused", "stored")
    line.release()
    tab.page.evaluate("running.resume()")
    wait_for_states(tab, "stored", "stored")
    for path in paths:
        check_stored_once(host, path)


def test_one_upload_is_paused_and_resumed_again_and_again(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    choose(tab, path)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "upload"})
    for _ in range(2):
        line.wait_until_held()
        tab.page.evaluate("running.pause()")
        line.stall()  # the server learns of it when the upload goes on
        tab.page.evaluate("running.resume()")
    line.wait_until_held()
    line.release()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert len({each["upload"] for each in logged(host, "upload.resumed", name=path.name)}) == 1


def test_pause_and_resume_at_once_change_nothing(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    choose(tab, path)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll"})
    line.wait_until_held()
    tab.page.evaluate("running.pause(); running.resume()")
    line.release()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)


@pytest.mark.parametrize("name", ["upload", "uploadAll"])
@pytest.mark.parametrize("when", ["interrupted", "paused"])
def test_an_upload_that_does_not_run_is_abandoned_at_the_server(
    host: Daemon, line: Line, tab: Tab, write: Write, name: str, when: str
) -> None:
    path = write(SIZE)
    choose(tab, path)
    tab.allow_complaint(RECONNECTING)
    tab.page.clock.install()
    line.hold(HELD)
    tab.page.evaluate(START, {"name": name})
    line.wait_until_held()
    if when == "paused":
        tab.page.evaluate("running.pause()")
        line.release()
    else:
        line.refuse()
        line.cut()
        line.wait_until_refused(2)
        line.release()
        line.accept()
    host.wait_for("upload.kept", name=path.name)
    tab.page.evaluate("running.abort()")
    ((signal,),) = tab.page.evaluate("outcome")["failure"] or [[{"code": "aborted"}]]
    assert signal["code"] == "aborted"
    wait_until_abandoned(host, path.name)


def test_the_page_cancels_a_file_while_the_server_is_away(
    daemon: Daemons, upload_page: OpenPage, write: Write
) -> None:
    host = daemon()
    path, other = write(SIZE), write(1000, seed=1)
    with Line(host) as line:
        page = upload_page(host, port=line.port)
        page.tab.allow_complaint(RECONNECTING)
        line.hold(HELD)
        page.choose(path)
        line.wait_until_held()
        line.refuse()
        line.cut()
        page.expect_states(["interrupted"])
        page.button("cancel").click()
        page.expect_states(["cancelled"])
        line.release()
        line.accept()
        page.choose(other)
        page.expect_states(["cancelled", "stored"])
        page.button("retry").click()
        page.expect_states(["stored", "stored"])
    check_stored_once(host, path)
    check_stored_once(host, other)
