"""The JavaScript client in a browser, on a page that has nothing else."""

import filecmp
import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from browser.line import Line
from browser.tab import Tab, http
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, poll
from playwright.sync_api import expect

BlankPage = Callable[[str], Tab]

PREPARE: Final = """\
async () => {
  const { upload } = await import("/galileo.js");
  globalThis.file = document.querySelector("#files").files[0];
  globalThis.start = (options) => {
    globalThis.running = upload({ url: "/upload", file, ...options });
    globalThis.outcome = running.done.then(
      (receipt) => ({ receipt }),
      ({ code, reason, signals }) => ({ code, reason, signals }),
    );
  };
}
"""


def choose(tab: Tab, path: Path) -> None:
    """Make the file known to the page's scripts, as `file`, and the client's `start`."""
    tab.page.set_input_files("#files", path)
    tab.page.evaluate(PREPARE)


def outcome(tab: Tab) -> dict[str, Any]:
    """How the upload that `start` began has ended."""
    return dict(tab.page.evaluate("outcome"))


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """A file of some chunks, with a name that nothing else has."""
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(5_000_000))
    return path


def test_the_module_stores_a_file_and_gives_a_receipt(
    host: Daemon, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host))
    choose(tab, chosen)
    tab.page.evaluate("start()")
    sha1 = hashlib.sha1(chosen.read_bytes(), usedforsecurity=False).hexdigest()
    receipt = outcome(tab)["receipt"]
    assert receipt.pop("seconds") > 0
    assert receipt == {
        "outcome": "stored",
        "name": chosen.name,
        "path": chosen.name,
        "size": 5_000_000,
        "hash": {"type": "sha1", "value": sha1},
    }
    assert filecmp.cmp(chosen, host.directory / chosen.name, shallow=False)
    assert host.wait_for("upload.stored", name=chosen.name)["hash_verified"]


CLASSIC: Final = """\
() => new Promise((resolve) => {
  const calls = [];
  const note = (name) => (...values) => calls.push([name, ...values]);
  GalileoSend({
    url: "/upload",
    file: document.querySelector("#files").files[0],
    onchunk: note("chunk"),
    onerror: note("error"),
    onsuccess: note("success"),
    onfailure: note("failure"),
    onclose: () => {
      note("close")();
      setTimeout(() => resolve(calls)); // whatever would still come after the last call
    },
  });
})
"""


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_the_classic_script_calls_the_handlers_in_order(
    host: Daemon, blank: BlankPage, tmp_path: Path, size: int
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(size))
    tab = blank(http(host))
    tab.page.add_script_tag(url="/galileo_send.js")
    tab.page.set_input_files("#files", path)
    calls = tab.page.evaluate(CLASSIC)
    *chunks, success, close = calls
    assert [success, close] == [["success"], ["close"]]
    assert {name for name, *_ in chunks} == {"chunk"}
    ratios = [ratio for _, ratio in chunks]
    assert ratios == sorted(set(ratios))
    assert ratios[0] > 0
    assert ratios[-1] == 1
    assert filecmp.cmp(path, host.directory / path.name, shallow=False)


def test_the_classic_script_tells_an_error_before_the_failure(
    daemon: Callable[..., Daemon], blank: BlankPage, chosen: Path
) -> None:
    small = daemon({"limits": {"max_file_size": 1000}})
    tab = blank(http(small))
    tab.page.add_script_tag(url="/galileo_send.js")
    tab.page.set_input_files("#files", chosen)
    error, failure, close = tab.page.evaluate(CLASSIC)
    assert error[0] == "error"
    assert error[1]["code"] == "too_large"
    assert failure == ["failure", [error[1]]]
    assert close == ["close"]


def test_a_signal_cancels_an_upload_and_nothing_of_it_stays(
    host: Daemon, line: Line, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host, line.port))
    choose(tab, chosen)
    line.hold(1_000_000)
    tab.page.evaluate("globalThis.controller = new AbortController()")
    tab.page.evaluate("start({ signal: controller.signal })")
    line.wait_until_held()
    assert host.spooled()
    tab.page.evaluate("controller.abort()")
    assert outcome(tab)["code"] == "aborted"
    line.release()
    host.wait_for("upload.abandoned", name=chosen.name)
    poll("an empty spool", lambda: not host.spooled())
    assert chosen.name not in host.visible()


def test_the_progress_can_be_iterated_and_ends_with_the_upload(
    host: Daemon, line: Line, blank: BlankPage, tmp_path: Path
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(30_000_000))  # more than the sockets on the way take in
    tab = blank(http(host, line.port))
    choose(tab, path)
    line.hold(1_000_000)
    tab.page.evaluate("start()")
    line.wait_until_held()
    tab.page.evaluate("globalThis.steps = running[Symbol.asyncIterator]()")
    first = tab.page.evaluate("steps.next().then(({ value }) => value)")
    assert 0 <= first["ratio"] < 1
    line.release()
    rest = tab.page.evaluate(
        "(async () => { const all = []; for await (const step of steps) all.push(step);"
        " return all; })()"
    )
    ratios = [step["ratio"] for step in [first, *rest]]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1
    assert rest[-1]["sent"] == rest[-1]["size"] == 30_000_000
    assert filecmp.cmp(path, host.directory / path.name, shallow=False)


def test_the_file_is_hashed_in_a_worker_that_ends_with_the_upload(
    host: Daemon, line: Line, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host, line.port))
    choose(tab, chosen)
    line.hold(1_000_000)
    with tab.page.expect_worker() as worker:
        tab.page.evaluate("start()")
    assert worker.value.url.endswith("/hash_worker.js")
    line.wait_until_held()
    assert tab.page.workers
    line.release()
    assert outcome(tab)["receipt"]["hash"]["type"] == "sha1"
    poll("the worker's end", lambda: tab.page.evaluate("0") == 0 and not tab.page.workers)


@pytest.mark.parametrize("place", [{}, {"worker": False}], ids=["in-a-worker", "in-the-page"])
def test_every_kind_of_hash_is_what_the_daemon_finds(
    host: Daemon, blank: BlankPage, chosen: Path, place: dict[str, bool]
) -> None:
    tab = blank(http(host))
    choose(tab, chosen)
    for kind in ("sha1", "sha256", "sha512", "blake2b"):
        name = unique_name()
        tab.page.evaluate("start", {"hash": kind, "name": name, **place})
        value = hashlib.new(kind, chosen.read_bytes()).hexdigest()
        assert outcome(tab)["receipt"]["hash"] == {"type": kind, "value": value}
        assert host.wait_for("upload.stored", name=name)["hash_verified"]


def test_a_file_may_go_without_a_hash(host: Daemon, blank: BlankPage, chosen: Path) -> None:
    tab = blank(http(host))
    choose(tab, chosen)
    tab.page.evaluate("start", {"hash": "none"})
    assert outcome(tab)["receipt"]["hash"] is None
    assert not host.wait_for("upload.stored", name=chosen.name)["hash_verified"]
    assert filecmp.cmp(chosen, host.directory / chosen.name, shallow=False)


def test_bytes_that_changed_on_the_way_are_not_stored(
    host: Daemon, line: Line, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host, line.port))
    choose(tab, chosen)
    line.flip(100_000)
    tab.page.evaluate("start()")
    ending = outcome(tab)
    assert ending["code"] == "hash_mismatch"
    assert [fault["fatal"] for fault in ending["signals"]] == [True]
    assert chosen.name not in host.visible()


def test_a_server_that_falls_silent_ends_the_upload_with_a_reason(
    host: Daemon, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host))
    choose(tab, chosen)
    host.send_signal(signal.SIGSTOP)
    try:
        tab.page.evaluate("start", {"timeout": 300})
        ending = outcome(tab)
    finally:
        host.send_signal(signal.SIGCONT)
    tab.expect_complaint("WebSocket is closed before the connection is established")
    assert ending["code"] == "timeout"
    assert "has not answered for 0.3 s" in ending["reason"]
    assert chosen.name not in host.visible()


def test_a_server_that_is_gone_ends_the_upload_with_a_reason(
    daemon: Callable[..., Daemon], blank: BlankPage, chosen: Path
) -> None:
    host = daemon()
    with Line(host) as line:
        tab = blank(http(host, line.port))
        choose(tab, chosen)
        line.hold(1_000_000)
        tab.page.evaluate("start", {"retries": 0})
        line.wait_until_held()
        host.kill()
        ending = outcome(tab)
    assert ending["code"] == "connection_lost"
    assert ending["reason"]


def test_a_file_that_changes_while_it_is_sent_ends_the_upload_with_a_reason(
    host: Daemon, line: Line, blank: BlankPage, tmp_path: Path
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(30_000_000))  # far more than is read ahead
    tab = blank(http(host, line.port))
    choose(tab, path)
    line.hold(1_000_000)
    tab.page.evaluate("start()")
    line.wait_until_held()
    path.write_bytes(b"")
    line.release()
    ending = outcome(tab)
    assert ending["code"] == "file_unreadable"
    assert path.name in ending["reason"]
    assert path.name not in host.visible()


def test_an_upload_whose_page_is_left_is_kept(
    host: Daemon, line: Line, blank: BlankPage, chosen: Path
) -> None:
    tab = blank(http(host, line.port))
    choose(tab, chosen)
    line.hold(1_000_000)
    tab.page.evaluate("start()")
    line.wait_until_held()
    tab.page.goto("about:blank")
    line.release()
    host.wait_for("upload.kept", name=chosen.name)
    assert chosen.name not in host.visible()
    expect(tab.page).to_have_url("about:blank")
