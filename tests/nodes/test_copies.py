"""A copy of the nodes' directory, as on a cloned machine, is not taken for the directory itself."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import gethostname

import psycopg
import pytest
from helpers.clients import some_bytes
from helpers.connecting import connected
from helpers.daemon import Daemon, poll
from helpers.nodes import short_lease
from helpers.resuming import ResumingClient, push

pytestmark = pytest.mark.timeout(120)

DATA = some_bytes(3_000_000)

IMPATIENT = """
from galileod.daemon import copied
copied.MOST_SECONDS = 1.0
"""
"""What a node executes first that is to be refused soon."""

Make = Callable[..., Daemon]


@pytest.fixture
def make(ledger_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a node of this name with this directory."""
    with ExitStack() as stack:

        def node(name: str, directory: str, before: str = "") -> Daemon:
            folder = tmp_path / f"{name}-{directory}"
            settings: dict[str, dict[str, object]] = {
                "timeouts": {"close": 1},
                "storage": {"directory": str(tmp_path / directory), "min_free": 0},
                "ledger": {"url": ledger_url, "node": name},
            }
            return stack.enter_context(Daemon(folder, settings, before=before))

        yield node


def copy(tmp_path: Path) -> None:
    """Copy the directory, with all that is in it while it is used."""
    ignore = shutil.ignore_patterns("*.sock")
    shutil.copytree(tmp_path / "files", tmp_path / "copy", ignore=ignore)


def check_stores(host: Daemon) -> None:
    client = ResumingClient(host.url, DATA)
    assert push(client) == "stored"


def test_a_node_with_a_copy_of_the_directory_does_not_start_beside_the_others(
    make: Make, tmp_path: Path
) -> None:
    one = make("one", "files").start()
    check_stores(one)
    copy(tmp_path)
    two = make("two", "copy", IMPATIENT)
    (found,) = connected(two.config)[2]
    assert 'ledger: find its files: the node "one", which runs on' in found
    assert "probably a copy of its directory" in found
    two.spawn()
    assert two.wait() == 1
    reason = two.wait_for("server.failed")["reason"]
    assert f'the node "one", which runs on {gethostname()} since 2' in reason
    assert "has not locked .galileod/nodes/one/lock in storage.directory" in reason
    assert "probably a copy of its directory" in reason
    check_stores(one)
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "copy").symlink_to("files")  # as if the shared one was mounted there now
    check_stores(two.start())
    assert connected(two.config)[0] == connected(one.config)[0] == 0
    assert one.find("lease.lost") is None


def test_a_node_whose_name_a_copy_of_it_has_taken_tells_where_and_does_not_take_it_back(
    make: Make, ledger_url: str, tmp_path: Path
) -> None:
    one = make("one", "files").start()
    check_stores(one)
    copy(tmp_path)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(1_000_000)
        clone = make("one", "copy")
        (found,) = connected(clone.config)[2]
        assert f'use the name "one": it runs on {gethostname()} since 2' in found
        assert "but not with this storage.directory" in found
        assert connected(one.config)[0] == 0
        clone.start()
        assert attempt.last()["code"] == "busy"
    since = one.wait_for("lease.lost", uploads=1, host=gethostname())["timestamp"]
    reason = one.wait_for("lease.run_out", since=since)["reason"]
    said = 'another galileod with the name "one" and the identity of this one runs on'
    assert reason.startswith(f"{said} {gethostname()}, since 2")
    assert "is a copy of the other" in reason
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        (before,) = connection.execute("SELECT until FROM nodes").fetchall()
        check_stores(clone)
        assert push(client.at(one.url)) == "busy"
        until = "SELECT until FROM nodes"
        poll("its renewal", lambda: connection.execute(until).fetchall() != [before])
    assert clone.find("lease.lost") is None
    assert one.find("lease.renewed") is None
    assert clone.stop() == 0
    one.wait_for("lease.renewed")
    check_stores(one)


def test_a_node_that_was_killed_delays_the_start_of_another_only_until_its_lease_is_over(
    make: Make,
) -> None:
    short = short_lease(4.0, 1.0, 1.0)
    make("one", "files", short).start().kill()
    two = make("two", "files", short).start()
    check_stores(two)


def test_a_node_that_was_killed_starts_again_at_once_beside_another_one(make: Make) -> None:
    one = make("one", "files", IMPATIENT).start()
    two = make("two", "files", IMPATIENT).start()
    for host in (one, two):
        host.kill()
        host.start()
        check_stores(host)
