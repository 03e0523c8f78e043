"""Daemons of an older and of a newer galileod, with one directory and one ledger in PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.clients import ask, check_serves
from helpers.daemon import Daemon, Settings, run_galileod
from helpers.nodes import newer_galileod, short_lease
from helpers.pausing import stopped

from galileod import __version__

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Daemon]

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"

SHORT = short_lease(6.0, 1.0, 1.0)
"""What a node executes first: its lease is short."""


@pytest.fixture
def make(ledger_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a node of this name."""
    with ExitStack() as stack:

        def node(name: str, before: str = "") -> Daemon:
            tables: Settings = {
                "timeouts": {"close": 1},
                "storage": {"directory": str(tmp_path / "shared"), "min_free": 0},
                "ledger": {"url": ledger_url, "node": name},
            }
            return stack.enter_context(Daemon(tmp_path / name, tables, before=SHORT + before))

        yield node


def test_older_and_newer_nodes_serve_beside_each_other_and_both_start_again(make: Make) -> None:
    one, two = make("one").start(), make("two").start()
    assert two.stop() == 0
    two.before += newer_galileod(compatible=True)
    two.start()
    one.kill()
    one.start()
    for node in (one, two, one):
        check_serves(node)
    assert len(one.visible()) == 3


def test_a_newer_node_that_cannot_share_the_tables_waits_until_the_older_ones_have_stopped(
    make: Make,
) -> None:
    old = make("old").start()
    new = make("new", newer_galileod(compatible=False)).spawn()
    reason = new.wait_for("server.waiting")["reason"]
    assert reason == (
        f"the tables are still used by nodes of an older galileod: old ({__version__});"
        " this version cannot share them: stop these nodes"
    )
    check_serves(old)
    assert old.stop() == 0
    new.listen = new.wait_for("server.started")["listen"]
    check_serves(new)
    refused = run_galileod("serve", "--config", old.config)
    assert refused.returncode == 1
    assert "from a newer galileod" in refused.stderr


def test_an_older_node_that_goes_on_after_the_tables_changed_says_why_it_cannot_write(
    make: Make,
) -> None:
    old = make("old").start()
    with stopped(old.pid, old.send_signal, 0):
        new = make("new", newer_galileod(compatible=False)).start()
    since = old.wait_for("lease.lost")["timestamp"]
    reason = old.wait_for("lease.run_out", since=since)["reason"]
    assert "from a newer galileod" in reason
    assert ask(old, HEALTH).status == 503
    check_serves(new)
