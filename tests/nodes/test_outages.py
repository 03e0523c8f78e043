"""Uploads that run while the database is away, for a while or for long."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from attrs import define
from helpers.clients import Signal, ask, some_bytes
from helpers.cluster import running_cluster
from helpers.daemon import DEADLINE, Daemon, poll
from helpers.engines.buckets import Bucket, new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.postgresql import Postgresql
from helpers.engines.shared import attach
from helpers.resuming import Attempt, ResumingClient, push, sha1
from helpers.s3_daemon import PREFIX, contents
from helpers.sending import GALILEO_SEND

pytestmark = pytest.mark.timeout(180)

MIB: Final = 1 << 20
DATA = some_bytes(22 * MIB)
SENT: Final = 12 * MIB

SHORT: Final = """
from galileod.ledger import lease
lease.WAIT_SECONDS = 3.0
lease.LEASE_SECONDS, lease.MARGIN = 6.0, 1.0
from galileod.daemon import node
node.RENEW_SECONDS = 1.0
"""
"""What a node executes first that waits for its database for three seconds."""

LEASED: Final = SHORT.replace("3.0", "300.0")


@define
class Place:
    """Where a node has its files: in a directory, or in a bucket."""

    folder: Path
    url: str
    bucket: Bucket | None

    def node(self, before: str = "", **storage: object) -> Daemon:
        tables: dict[str, Any] = {
            "timeouts": {"close": 1, "ping": 0.2},
            "server": {"drain_timeout": 0.2},
            "storage": storage,
            "ledger": {"url": self.url, "node": "one"},
        }
        if self.bucket is not None:
            s3 = self.bucket.settings(self.folder, prefix=PREFIX, part_size="5MiB")
            tables["storage"] |= {"backend": "s3", "s3": s3}
        return Daemon(self.folder / "one", tables, before=before)

    def stored(self, host: Daemon) -> dict[str, str]:
        """The hash of each file."""
        if self.bucket is not None:
            return contents(self.bucket)
        return {name: sha1(path.read_bytes()) for name, path in host.visible().items()}

    def recorded(self) -> tuple[dict[str, str], int]:
        """The hash of each file in the ledger, and the uploads that run or are kept."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            files: dict[str, str] = dict(
                connection.execute("SELECT name, sha1 FROM files").fetchall()
            )
            row = connection.execute("SELECT count(*) FROM uploads").fetchone()
        return files, int(row[0]) if row else 0

    def parts(self) -> int:
        """The parts that the ledger has."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM parts").fetchone()
        return int(row[0]) if row else 0

    def assert_stored_once(self, host: Daemon, *clients: ResumingClient) -> None:
        expected = {client.name: sha1(client.data) for client in clients}
        assert self.stored(host) == expected
        assert self.recorded() == (expected, 0)
        assert self.bucket is None or self.bucket.unfinished() == 0


@pytest.fixture(params=["local", "s3"])
def place(
    request: pytest.FixtureRequest,
    own_postgresql: Postgresql,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    bucket = None
    if request.param == "s3":
        bucket = new_bucket(attach(Ceph, tmp_path_factory).server)
    return Place(tmp_path, own_postgresql.new_database(), bucket)


@contextmanager
def hanging(postgresql: Postgresql) -> Iterator[None]:
    postgresql.hang()
    try:
        yield
    finally:
        postgresql.go_on()


@contextmanager
def killed(postgresql: Postgresql) -> Iterator[None]:
    postgresql.kill("server")
    try:
        yield
    finally:
        postgresql.spawn_server()


AWAY: Final = {"hanging": hanging, "killed": killed}


def client_of(host: Daemon, *, keyed: bool) -> ResumingClient:
    return ResumingClient(host.url, DATA, can=("resume",) if keyed else ())


@contextmanager
def finishing(attempt: Attempt) -> Iterator["Future[Signal]"]:
    """Send the rest of the file during the block; the signal that ends the upload."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(attempt.send_all)


def finish_unless_busy(client: ResumingClient) -> int:
    """Go on with an upload up to its end; returns where it went on, 0 if the server is busy."""
    with client.attempt() as attempt:
        if attempt.first.get("code") == "busy":
            return 0
        assert attempt.finish() == client.stored()
        return int(attempt.first.get("offset", 0))


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("begun", ["before", "after"])
def test_an_upload_outlasts_an_outage_and_is_confirmed_on_the_same_connection(
    place: Place, own_postgresql: Postgresql, away: str, begun: str, *, keyed: bool
) -> None:
    """The rest is sent before the lease has run out, or after."""
    with place.node(LEASED).start() as host:
        client = client_of(host, keyed=keyed)
        with client.attempt() as attempt:
            attempt.send(SENT)
            with ExitStack() as outage:
                outage.enter_context(AWAY[away](own_postgresql))
                if begun == "after":
                    host.wait_for("lease.run_out")
                with finishing(attempt) as ended:
                    host.wait_for("lease.run_out")
                    assert not ended.done()
                    outage.close()
            assert ended.result().get("close") is True
        place.assert_stored_once(host, client)


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("begun", ["before", "after"])
def test_an_upload_is_kept_after_a_long_outage_and_not_confirmed_before_its_end(
    place: Place, own_postgresql: Postgresql, away: str, begun: str
) -> None:
    with place.node(SHORT).start() as host:
        client = client_of(host, keyed=True)
        with client.attempt() as attempt:
            attempt.send(SENT)
            poll("two parts", lambda: place.bucket is None or place.parts() == 2)
            with ExitStack() as outage:
                outage.enter_context(AWAY[away](own_postgresql))
                if begun == "after":
                    host.wait_for("lease.run_out")
                    assert push(client_of(host, keyed=True)) == "busy"
                    health = ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
                    assert health.status == 503
                    told = health.body.decode()
                    assert told.startswith("The lease of this node has run out: the ")
                with finishing(attempt) as ended:
                    signal = ended.result()
                assert (signal["code"], signal["fatal"], "kept" in signal) == ("busy", True, True)
                assert host.find("upload.stored") is None
        offset = poll("the database", lambda: finish_unless_busy(client))
        assert offset >= (SENT if place.bucket is None else 10 * MIB)
        place.assert_stored_once(host, client)
        host.wait_for("ledger.back")
        events = [line["event"] for line in host.log()]
        assert (events.count("ledger.away"), events.count("ledger.back")) == (1, 1)
        assert "file.not_removed" not in events


@pytest.mark.parametrize("away", AWAY)
def test_a_node_that_is_stopped_waits_for_no_database_and_blames_it(
    place: Place, own_postgresql: Postgresql, away: str
) -> None:
    with place.node(LEASED).start() as host:
        client = client_of(host, keyed=True)
        with client.attempt() as attempt:
            attempt.send(MIB)
            with AWAY[away](own_postgresql):
                host.wait_for("lease.run_out")
                with finishing(attempt):
                    assert host.stop() == 0
        if place.bucket is None:
            assert host.find("upload.kept", code="shutting_down")
        else:
            line = host.find("upload.not_kept")
            assert line is not None
            assert "the database" in line["reason"]
        host.start()
        client.url = host.url
        finish_unless_busy(client)


def test_a_client_hears_pings_while_the_database_is_away(
    place: Place, own_postgresql: Postgresql, tmp_path: Path
) -> None:
    """It would give up after two seconds without them."""
    path = tmp_path / "large.bin"
    path.write_bytes(DATA)
    with place.node(LEASED).start() as host:
        options = ("--timeout", "2s", "--retries", "0", "--limit-rate", "8MiB")
        command: list[str | Path] = [GALILEO_SEND, *options, host.url, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as sending:
            host.wait_for("upload.started")
            with killed(own_postgresql):
                since = host.wait_for("lease.run_out")["timestamp"]
                host.wait_for("ledger.away")
                for _ in range(3):  # a new upload waits for five seconds until it is refused
                    assert push(client_of(host, keyed=False)) == "busy"
                assert sending.poll() is None
                assert host.find("lease.renewed", since=since) is None
            said, _ = sending.communicate(timeout=DEADLINE)
        assert sending.returncode == 0, (said, host.text())
        assert place.stored(host) == place.recorded()[0] == {path.name: sha1(DATA)}


def test_galileo_send_outlasts_an_outage_of_the_database_of_two_nodes(
    two_gateways: Ceph, own_postgresql: Postgresql, tmp_path: Path
) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(some_bytes(40 * MIB))
    bucket = new_bucket(two_gateways.server)
    with running_cluster(two_gateways, own_postgresql, bucket, tmp_path, 2) as cluster:
        command: list[str | Path] = [
            GALILEO_SEND,
            "--limit-rate",
            "8MiB",
            "--retries",
            "0",
            cluster.front.url,
            path,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as sending:
            place = Place(tmp_path, cluster.url, bucket)
            poll("two parts", lambda: place.parts() >= 2, cluster.front.text)
            with hanging(own_postgresql):
                for node in cluster.nodes:
                    node.wait_for("lease.run_out")
                assert sending.poll() is None
            said, _ = sending.communicate(timeout=DEADLINE)
        assert sending.returncode == 0, (said, cluster.front.text())
        assert contents(bucket) == {path.name: sha1(path.read_bytes())}
        assert place.recorded() == (contents(bucket), 0)
        assert bucket.unfinished() == 0
        assert sum(node.find("upload.kept") is not None for node in cluster.nodes) == 0
