"""Lines that are slow or dead, timers that hardly run, answers that are lost, and old servers."""

from collections.abc import Callable, Iterator
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
    freeze,
    key_of,
    logged,
    run_until_reconnected,
)
from browser.tab import Tab, http
from helpers.daemon import Daemon, Daemons, poll

BlankPage = Callable[[str], Tab]

HELD: Final = 3_000_000
SIZE: Final = 10_000_000
OLD: Final = {"resume": {"keep": 0}, "chunks": {"next": 0}}

both = pytest.mark.parametrize("name", ["upload", "uploadAll"])


@pytest.fixture
def tab(host: Daemon, line: Line, blank: BlankPage) -> Tab:
    tab = blank(http(host, line.port))
    tab.allow_complaint(RECONNECTING)  # the page's clock may run faster than the network
    return tab


def test_a_dead_line_is_noticed_by_the_clock_of_the_page(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(2 * SIZE)  # more than the server asks for in advance
    freeze(tab.page)
    choose(tab, path)
    frames: list[object] = []

    def note(frame: object) -> None:
        frames.append(frame)

    tab.page.on("websocket", lambda socket: socket.on("framereceived", note))
    line.hold(1_000_000)
    tab.page.evaluate(START, {"name": "upload"})
    line.wait_until_held()
    tab.page.clock.run_for(1_100)  # after that an answer shows how fast the server is
    before = len(frames)
    line.hold(HELD)
    line.wait_until_carried(HELD)
    line.wait_until_held()
    poll("an answer", lambda: tab.page.evaluate("0") == 0 and len(frames) > before)
    line.stall()
    line.release()
    opened = line.opened
    tab.page.clock.run_for(12_000)
    poll("another connection", lambda: line.opened > opened)
    tab.page.clock.resume()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert logged(host, "upload.taken_over", name=path.name)


def test_a_dead_line_is_noticed_soon_when_the_network_has_come_back(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(6_000_000)
    freeze(tab.page)
    choose(tab, path)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "upload"})
    line.wait_until_held()
    line.stall()
    line.release()
    opened = line.opened
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    tab.page.clock.run_for(6_000)
    poll("another connection", lambda: line.opened > opened)
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)


MINUTE: Final = 60_000


def test_a_dead_line_is_noticed_in_a_tab_whose_timers_run_once_a_minute(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    freeze(tab.page)
    choose(tab, path)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "upload"})
    line.wait_until_held()
    line.stall()
    line.release()
    opened = line.opened
    for _ in range(6):
        tab.page.clock.fast_forward(MINUTE)  # each timer runs at most once
    poll("another connection", lambda: line.opened > opened)
    tab.page.clock.resume()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert logged(host, "upload.taken_over", name=path.name)


@both
def test_a_slow_line_is_no_dead_line(
    host: Daemon, line: Line, tab: Tab, write: Write, name: str
) -> None:
    """At 20 kB/s by the page's clock, with all that the browser and the system take at once."""
    path = write(1_200_000)
    freeze(tab.page)
    choose(tab, path)
    line.slow(1_000_000)
    tab.page.evaluate(START, {"name": name})
    for carried in range(0, 1_200_000, 20_000):
        line.wait_until_carried(carried)
        tab.page.clock.run_for(1_000)
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert not logged(host, "upload.resumed", name=path.name)
    assert len(logged(host, "upload.started", name=path.name)) == 1


@pytest.mark.parametrize(("name", "size"), [("upload", SIZE), ("uploadAll", 2_000)])
def test_a_file_whose_answer_is_lost_is_stored_once(
    host: Daemon, line: Line, tab: Tab, write: Write, name: str, size: int
) -> None:
    path = write(size)
    choose(tab, path)
    tab.page.clock.install()
    line.cut_before(b'"close"')
    tab.page.evaluate(START, {"name": name})
    host.wait_for("upload.stored", name=path.name)
    line.cut_before(None)
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert line.cuts


def test_what_arrives_late_of_a_connection_that_was_given_up_ends_no_upload(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    freeze(tab.page)
    choose(tab, path)
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll"})
    line.wait_until_held()
    line.hold(1)  # the next connection carries its request, and not its metadata
    line.cut()
    tab.page.clock.run_for(1_000)
    line.wait_until_held()
    line.stall()
    line.hold(HELD)
    opened = line.opened
    run_until_reconnected(tab.page, line, opened)
    line.wait_until_held()
    line.wake()
    host.wait_for("upload.taken_over", name=path.name)
    line.release()
    tab.page.clock.resume()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)


DROP_IN: Final = """\
() => {
  const calls = (globalThis.calls = []);
  const note = (name) => (...values) => calls.push([name, ...values]);
  globalThis.ended = new Promise((resolve) => {
    GalileoSend({
      url: "/upload",
      file: document.querySelector("#files").files[0],
      onchunk: note("chunk"),
      onerror: note("error"),
      onsuccess: note("success"),
      onfailure: note("failure"),
      onclose: () => {
        note("close")();
        setTimeout(() => resolve(calls), 100); // whatever would still come after the last call
      },
    });
  });
}
"""


def drop_in(tab: Tab) -> None:
    tab.page.add_script_tag(url="/galileo_send.js")
    tab.page.evaluate(DROP_IN)


def test_the_drop_in_calls_no_handler_for_an_interruption(
    host: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(2 * SIZE)
    choose(tab, path)
    line.hold(HELD)
    drop_in(tab)
    for _ in range(3):
        line.wait_until_held()
        line.cut()
    line.wait_until_held()
    line.release()
    *chunks, success, close = tab.page.evaluate("ended")
    assert [success, close] == [["success"], ["close"]]
    assert {name for name, *_ in chunks} == {"chunk"}
    ratios = [ratio for _, ratio in chunks]
    assert ratios == sorted(set(ratios))
    assert ratios[-1] == 1
    check_stored_once(host, path)
    assert len(logged(host, "upload.resumed", name=path.name)) >= 3


@pytest.fixture
def old(daemon: Daemons) -> Daemon:
    """A server without the extensions."""
    return daemon(OLD)


@pytest.fixture
def old_line(old: Daemon) -> Iterator[Line]:
    with Line(old) as line:
        yield line


def test_at_an_old_server_the_drop_in_fails_at_once(
    old: Daemon, old_line: Line, blank: BlankPage, write: Write
) -> None:
    path = write(SIZE)
    tab = blank(http(old, old_line.port))
    choose(tab, path)
    old_line.hold(HELD)
    drop_in(tab)
    old_line.wait_until_held()
    opened = old_line.opened
    old_line.cut()
    *chunks, failure, close = tab.page.evaluate("ended")
    assert {name for name, *_ in chunks} == {"chunk"}
    name, [signal] = failure
    assert (name, signal["code"]) == ("failure", "connection_lost")
    assert close == ["close"]
    assert old_line.opened == opened
    assert path.name not in old.visible()


@both
def test_at_an_old_server_a_file_begins_anew(
    old: Daemon, old_line: Line, blank: BlankPage, write: Write, name: str
) -> None:
    path = write(SIZE)
    tab = blank(http(old, old_line.port))
    choose(tab, path)
    old_line.hold(HELD)
    tab.page.evaluate(START, {"name": name})
    old_line.wait_until_held()
    old_line.cut()
    old_line.wait_until_held()
    old_line.release()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(old, path)
    assert len(logged(old, "upload.started", name=path.name)) == 2


ENDING: Final = (
    "running.files.map(({ state, error, mayBeStored }) => [state, error.code, mayBeStored])"
)


def test_at_an_old_server_a_lost_answer_is_not_known(
    old: Daemon, old_line: Line, blank: BlankPage, write: Write
) -> None:
    path = write(300_000)
    tab = blank(http(old, old_line.port))
    choose(tab, path)
    old_line.cut_before(b'"close"')
    tab.page.evaluate(START, {"name": "uploadAll"})
    ((signal,),) = tab.page.evaluate("outcome")["failure"]
    assert signal["code"] == "connection_lost"
    assert "may have stored" in signal["error"]
    assert tab.page.evaluate(ENDING) == [["failed", "connection_lost", True]]
    check_stored_once(old, path)


def test_an_upload_waits_for_the_server_that_can_go_on_with_it(
    host: Daemon, old: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    choose(tab, path)
    tab.page.clock.install()
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll"})
    line.wait_until_held()
    line.lead_to(old)
    line.cut()
    old.wait_for("upload.started", name=path.name)
    line.lead_to(host)
    line.release()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(host, path)
    assert key_of(host, "upload.stored", path) == key_of(host, "upload.started", path)
    assert not old.visible()


def test_an_upload_begins_anew_where_only_old_servers_are_left(
    host: Daemon, old: Daemon, line: Line, tab: Tab, write: Write
) -> None:
    path = write(SIZE)
    choose(tab, path)
    tab.page.clock.install()
    line.hold(HELD)
    tab.page.evaluate(START, {"name": "uploadAll"})
    line.wait_until_held()
    line.lead_to(old)
    line.cut()

    def all_met() -> bool:
        tab.page.clock.run_for(200)
        return len(logged(old, "upload.started", name=path.name)) > 3

    poll("enough attempts", all_met)
    line.release()
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(old, path)
    assert path.name not in host.visible()
