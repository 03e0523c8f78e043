"""A node whose database lacks the last transactions, as after a failover to a standby."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from attrs import frozen
from helpers.clients import some_bytes
from helpers.daemon import Daemon
from helpers.nodes import LosingDaemon, lose_rows, not_recording
from helpers.resuming import ResumingClient, push

pytestmark = pytest.mark.timeout(120)

DATA = some_bytes(3_000_000)
SENT = 2_100_000


@frozen
class Node:
    host: Daemon
    url: str
    directory: Path
    failing: Path
    """While this file is there, the node records no stored file."""

    def records(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute("SELECT name, bytes FROM files").fetchall()

    def stored(self) -> list[tuple[str, int]]:
        return [
            (path.name, path.stat().st_size) for path in self.directory.iterdir() if path.is_file()
        ]


@pytest.fixture
def node(ledger_url: str, tmp_path: Path) -> Iterator[Node]:
    directory, failing = tmp_path / "shared", tmp_path / "failing"
    tables: dict[str, dict[str, object]] = {
        "timeouts": {"close": 1},
        "storage": {"directory": str(directory), "min_free": 0},
        "ledger": {"url": ledger_url, "node": "one"},
    }
    with ExitStack() as stack:
        daemon = LosingDaemon(tmp_path / "one", tables, before=not_recording(failing))
        host = stack.enter_context(daemon).start()
        yield Node(host, ledger_url, directory, failing)


def test_a_file_whose_upload_is_not_in_the_ledger_is_sent_again_and_stored_once(node: Node) -> None:
    client = ResumingClient(node.host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        lose_rows(node.url)
        assert attempt.finish()["code"] == "storage_failed"
    assert node.stored() == node.records() == []
    assert push(client) == "stored"
    assert node.stored() == node.records() == [(client.name, len(DATA))]


def test_what_is_kept_of_an_upload_that_is_not_in_the_ledger_is_removed(node: Node) -> None:
    client = ResumingClient(node.host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        lose_rows(node.url)
        attempt.cut()
    node.host.wait_for("upload.failed", code="disconnected")
    assert list((node.directory / ".galileod/nodes/one/spool").iterdir()) == []
    assert push(client) == "stored"
    assert node.stored() == node.records() == [(client.name, len(DATA))]


@pytest.mark.parametrize("data", [DATA, DATA[:1000]], ids=["large", "small"])
def test_a_confirmed_file_whose_reservation_is_lost_before_it_is_recorded_is_recorded(
    node: Node, data: bytes
) -> None:
    node.failing.touch()
    client = ResumingClient(node.host.url, data)
    assert push(client) == "stored"
    node.host.wait_for("ledger.behind")
    assert node.records() == []
    lose_rows(node.url)
    node.failing.unlink()
    assert push(client) == "stored"  # its key is remembered
    assert node.stored() == node.records() == [(client.name, len(data))]
