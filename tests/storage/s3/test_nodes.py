"""Two nodes with one database and one bucket, of which one is killed, or stopped for a while."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import gethostname
from typing import Any

import psycopg
import pytest
from helpers.clients import some_bytes
from helpers.connecting import connected
from helpers.daemon import Daemon, poll, run_galileod
from helpers.engines.buckets import Bucket
from helpers.engines.postgresql import Postgresql
from helpers.nodes import LosingDaemon, lose_rows, short_lease
from helpers.pausing import stopped
from helpers.resuming import ResumingClient, push, sha1
from helpers.s3_daemon import PREFIX, contents
from helpers.s3_store import MIB, PART

pytestmark = pytest.mark.timeout(120)

DATA = some_bytes(12 * MIB)

MACHINE = gethostname()

LEASE = 9.0

SHORT = short_lease(LEASE, 1.5, 1.0)
"""What a node executes first: its lease is short."""

LATER = """
import time
from galileod.storage.s3 import sweep
sweep.Sweeper.__init__.__defaults__ = (lambda: time.time() + 30 * 86400,)
"""
"""What a node executes first whose sweep takes all that is there for a month old."""


class Nodes:
    """Nodes by their names, each in a folder of its own, and the database that they share."""

    def __init__(self, url: str, bucket: Bucket, folder: Path, stack: ExitStack) -> None:
        self.url = url
        self._bucket = bucket
        self._folder = folder
        self._stack = stack

    def start(
        self,
        name: str,
        before: str = "",
        kind: type[Daemon] = Daemon,
        **more: Any,  # noqa: ANN401  tables
    ) -> Daemon:
        return self.make(name, before, kind, **more).start()

    def make(
        self,
        name: str,
        before: str = "",
        kind: type[Daemon] = Daemon,
        **more: Any,  # noqa: ANN401  tables
    ) -> Daemon:
        s3 = self._bucket.settings(self._folder, prefix=PREFIX, part_size="5MiB")
        tables: dict[str, Any] = {
            "timeouts": {"close": 1},
            "storage": {"backend": "s3", "s3": s3},
            "ledger": {"url": self.url, "node": name},
            **more,
        }
        return self._stack.enter_context(kind(self._folder / name, tables, before=SHORT + before))

    def owners(self) -> list[tuple[str, bool]]:
        """The node of each upload, and whether it is kept."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute('SELECT node, "offset" IS NOT NULL FROM uploads')
            return [(str(node), bool(kept)) for node, kept in rows]

    def parts(self) -> int:
        """The parts that the ledger has."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM parts").fetchone()
        return int(row[0]) if row else 0

    def fence(self, name: str) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT fence FROM nodes WHERE name = %s", (name,)).fetchone()
        return int(row[0]) if row else 0


def refusal(host: Daemon) -> str:
    """Why a node does not start."""
    ended = run_galileod("serve", "--config", host.config)
    assert ended.returncode == 1
    reason: str = json.loads(ended.stderr.splitlines()[-1])["reason"]
    return reason


@pytest.fixture
def nodes(postgresql: Postgresql, bucket: Bucket, tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(postgresql.new_database(), bucket, tmp_path, stack)


def test_nodes_store_files_and_name_themselves(nodes: Nodes, bucket: Bucket) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    clients = [ResumingClient(host.url, DATA) for host in (one, two)]
    for client in clients:
        with client.attempt() as attempt:
            assert attempt.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA) for client in clients}
    assert one.find("upload.stored", node="one")
    assert two.find("upload.stored", node="two")


def test_an_upload_of_a_node_that_was_killed_is_continued_at_another(
    nodes: Nodes, bucket: Bucket
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(11 * MIB)
        poll("two parts", lambda: nodes.parts() == 2)
        one.kill()
    assert nodes.owners() == [("one", False)]
    settled = two.wait_for("node.settled")
    assert (settled["nodes"], settled["kept"], settled["stored"]) == (["one"], 1, 0)
    assert nodes.owners() == [("two", True)]
    client = client.at(two.url)
    with client.attempt() as attempt:
        assert attempt.first["offset"] == 2 * PART
        assert attempt.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA)}
    assert bucket.unfinished() == 0


def test_a_node_that_was_stopped_beyond_its_lease_writes_nothing_more(
    nodes: Nodes, bucket: Bucket
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    before = nodes.fence("one")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(6 * MIB)
        poll("a part", lambda: nodes.parts() == 1)
        with stopped(one.pid, one.send_signal, 0):
            two.wait_for("node.settled", kept=1)
            assert nodes.owners() == [("two", True)]
        signal_ = attempt.last()
        assert (signal_["code"], signal_["fatal"]) == ("busy", True)
    one.wait_for("lease.lost", uploads=1)
    one.wait_for("lease.renewed")
    assert nodes.fence("one") > before
    assert nodes.owners() == [("two", True)]
    for host, name in ((one, "a"), (two, None)):
        again = client.at(host.url) if name is None else ResumingClient(host.url, DATA)
        with again.attempt() as attempt:
            assert attempt.first.get("offset", 0) == (PART if name is None else 0)
            assert attempt.finish() == again.stored()
    assert bucket.unfinished() == 0


def test_one_node_aborts_what_a_killed_one_has_left_and_spares_what_others_know(
    nodes: Nodes, bucket: Bucket
) -> None:
    """What is left has no row: its node was killed before it could enter the multipart upload."""
    one = nodes.start("one")
    kept, running = (ResumingClient(one.url, DATA) for _ in range(2))
    with kept.attempt() as attempt:
        attempt.send(6 * MIB)
        attempt.cut()
    one.wait_for("upload.kept")
    with running.attempt() as attempt:
        attempt.send(6 * MIB)
        poll("their parts", lambda: nodes.parts() == 2)
        for name in ("left", "left too"):
            bucket.raw.create_multipart_upload(Bucket=bucket.name, Key=PREFIX + name)
        bucket.raw.put_object(Bucket=bucket.name, Key=f"{PREFIX}.galileod/tails/left", Body=b"1")
        swept = nodes.start("two", LATER).wait_for("storage.swept")
        assert (swept["uploads"], swept["objects"], swept["entries"]) == (2, 1, 0)
        assert bucket.unfinished() == 2
        assert attempt.finish() == running.stored()
    with kept.attempt() as attempt:
        assert attempt.first["offset"] == 6 * MIB
        assert attempt.finish() == kept.stored()
    assert bucket.unfinished() == 0
    assert len(contents(bucket)) == 2


def test_a_node_that_was_stopped_for_less_than_its_lease_goes_on(
    nodes: Nodes, bucket: Bucket
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    before = nodes.fence("one")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(6 * MIB)
        with stopped(one.pid, one.send_signal, LEASE / 6):
            pass
        assert attempt.finish() == client.stored()
    assert nodes.fence("one") == before
    assert not two.find("node.settled")
    assert contents(bucket) == {client.name: sha1(DATA)}


def test_a_start_touches_no_upload_of_another_node(nodes: Nodes, bucket: Bucket) -> None:
    one = nodes.start("one")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(11 * MIB)
        for name in ("two", "three"):
            nodes.start(name)
        assert attempt.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA)}


def test_an_upload_that_is_kept_at_one_node_is_continued_at_another(
    nodes: Nodes, bucket: Bucket
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(7 * MIB)
        attempt.cut()
    one.wait_for("upload.kept")
    client = client.at(two.url)
    with client.attempt() as attempt:
        assert attempt.first["offset"] == 7 * MIB
        assert attempt.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA)}
    assert bucket.unfinished() == 0


def test_an_object_whose_upload_is_not_in_the_ledger_is_sent_again_and_stored_once(
    nodes: Nodes, bucket: Bucket
) -> None:
    one = nodes.start("one", kind=LosingDaemon)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(len(DATA))
        lose_rows(nodes.url)
        assert attempt.finish()["code"] == "storage_failed"
    assert contents(bucket) == {}
    assert bucket.unfinished() == 0
    assert push(client) == "stored"
    assert contents(bucket) == {client.name: sha1(DATA)}
    with psycopg.connect(nodes.url) as connection:
        assert connection.execute("SELECT name FROM files").fetchall() == [(client.name,)]


def test_another_node_begins_at_once_when_the_first_has_stopped_in_order(
    nodes: Nodes,
) -> None:
    nodes.start("one").stop()
    with psycopg.connect(nodes.url) as connection:
        row = connection.execute("SELECT isfinite(until) FROM nodes").fetchone()
    assert row == (False,)
    nodes.start("two")


def test_a_name_that_is_in_use_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.start("one")
    other = Nodes(nodes.url, nodes._bucket, tmp_path / "other", nodes._stack)
    (tmp_path / "other").mkdir()
    host = other.make("one")
    assert 'another galileod with the name "one" uses it, on ' in refusal(host)
    status, _, errors = connected(host.config)
    (error,) = errors
    assert status == 1
    said = f"another galileod of this name runs on {MACHINE} since 2"
    assert error.startswith(f'galileod: ledger: use the name "one": {said}')
    assert "set another ledger.node" in error


def test_a_node_that_runs_is_not_taken_for_another_one(nodes: Nodes) -> None:
    host = nodes.start("one")
    status, steps, errors = connected(host.config)
    assert (status, errors) == (0, [])
    assert steps[-2:] == ['ledger: use the name "one": ok', "ledger: find its files: ok"]


def test_a_prefix_without_the_files_of_the_ledger_is_found_and_nothing_changed(
    nodes: Nodes, bucket: Bucket
) -> None:
    host = nodes.start("one")
    client = ResumingClient(host.url, DATA[: 5 * MIB])
    with client.attempt() as attempt:
        attempt.finish()
    text = host.config.read_text()
    host.config.write_text(text.replace(f'"{PREFIX}"', '"other/"'))
    other = nodes.make("two")
    other.config.write_text(other.config.read_text().replace(f'"{PREFIX}"', '"other/"'))
    finding, there = "galileod: ledger: find its files: ", f"s3://{bucket.name}/other"
    (error,) = connected(other.config)[2]
    here = f"s3://{bucket.name}/{PREFIX}".rstrip("/")
    assert error == (
        f"{finding}nodes that run (one) store their files in {here}, and this one in {there}:"
        " correct the settings of [storage], or use another database"
    )
    host.stop()
    missing = f"its files are in {here}, but '{client.name}' is not in {there}"
    for config in (host.config, other.config):
        (error,) = connected(config)[2]
        assert error.startswith(f"{finding}{missing}")
    assert missing in refusal(host)
    host.config.write_text(text)
    assert connected(host.config)[0] == 0


def test_uploads_that_have_begun_elsewhere_are_found(nodes: Nodes, bucket: Bucket) -> None:
    host = nodes.start("one")
    client = ResumingClient(host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(6 * MIB)
        attempt.cut()
    host.wait_for("upload.kept")
    host.stop()
    host.config.write_text(host.config.read_text().replace(f'"{PREFIX}"', '"other/"'))
    (error,) = connected(host.config)[2]
    assert "there are interrupted uploads to s3://" in error
    assert error.partition("find its files: ")[2] in refusal(host)


def test_a_node_with_files_in_another_directory_is_refused(
    postgresql: Postgresql, tmp_path: Path
) -> None:
    url = postgresql.new_database()
    one, two = (
        Daemon(tmp_path / name, {"ledger": {"url": url, "node": name}}) for name in ("one", "two")
    )
    with one.start(), two:
        assert "nodes that are running store their files elsewhere" in refusal(two)
        (error,) = connected(two.config)[2]
        assert "nodes that run (one) store their files in the directory with the ident" in error
        assert one.stop() == 0
        two.start()
