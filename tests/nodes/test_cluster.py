"""Nodes behind HAProxy while nodes, a gateway, the OSD and PostgreSQL fail at random.

Whatever becomes of them, nothing that was confirmed is lost, and nothing is left or stored twice.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import Signal
from helpers.cluster import Cluster, running_cluster
from helpers.engines.buckets import new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.postgresql import Postgresql
from helpers.ledger_nodes import LedgerNodes
from helpers.resuming import Attempt, sha1
from helpers.rounds import report, rounds, seeds
from helpers.s3_aftermath import assert_nothing_lost
from helpers.s3_senders import PASSING, PATIENCE, Senders, Stored, content
from helpers.s3_store import MIB
from helpers.sending import GALILEO_SEND

pytestmark = pytest.mark.timeout(rounds(300, 7200))

LARGE: Final = rounds(40 * MIB, 300 * MIB)
"""Bytes of a file that `galileo-send` sends."""

FAULTS_OF_ROUND: Final = rounds(4, 8)

Fault = Callable[[Cluster, random.Random], None]


def node_killed(cluster: Cluster, chance: random.Random) -> None:
    cluster.restart(chance.choice(cluster.nodes))


def node_hangs(cluster: Cluster, chance: random.Random) -> None:
    cluster.hang(chance.choice(cluster.nodes))


def gateway_killed(cluster: Cluster, chance: random.Random) -> None:
    gateway = chance.choice(["rgw", "rgw2"])
    cluster.ceph.kill(gateway)
    cluster.ceph.spawn_gateway(gateway)


def osd_hangs(cluster: Cluster, chance: random.Random) -> None:
    cluster.ceph.signal("osd", signal.SIGSTOP)
    try:
        time.sleep(chance.uniform(0.2, rounds(1.5, 8.0)))
    finally:
        cluster.ceph.signal("osd", signal.SIGCONT)


def database_killed(cluster: Cluster, chance: random.Random) -> None:
    cluster.postgresql.kill("server")
    time.sleep(chance.uniform(0.0, rounds(1.0, 8.0)))
    cluster.postgresql.spawn_server()


def database_hangs(cluster: Cluster, chance: random.Random) -> None:
    cluster.postgresql.hang()
    try:
        time.sleep(chance.uniform(0.2, rounds(2.0, 12.0)))
    finally:
        cluster.postgresql.go_on()


FAULTS: Final[tuple[Fault, ...]] = (
    node_killed, node_hangs, gateway_killed, osd_hangs, database_killed, database_hangs,
)  # fmt: skip


@pytest.fixture
def cluster(
    seed: int,
    two_gateways: Ceph,
    own_postgresql: Postgresql,
    tmp_path: Path,
) -> Iterator[Cluster]:
    bucket = new_bucket(two_gateways.server)
    with running_cluster(two_gateways, own_postgresql, bucket, tmp_path, 2 + seed % 2) as cluster:
        yield cluster
    if not bucket.unfinished():  # of which radosgw-admin would die
        purge = ("--purge-objects", "--bypass-gc")  # its memory is the machine's
        two_gateways.admin("bucket", "rm", f"--bucket={bucket.name}", *purge)


@pytest.fixture(scope="module")
def times() -> Iterator[list[float]]:
    """How many times its bytes each large file has taken; in sum they are few."""
    every: list[float] = []
    yield every
    if LARGE > 256 * MIB:
        assert sum(every) <= 1.1 * len(every), every


@contextmanager
def sending_command(cluster: Cluster, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`galileo-send` with many retries, as a process."""
    output = path.with_name("command")
    with output.open("wb") as written:
        options = ("--retries", "100", "--retry-delay", "100ms", "--retry-connrefused")
        command: list[str | Path] = [GALILEO_SEND, *options, cluster.large.url, path]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=written
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.mark.parametrize("seed", seeds(3, 30))
def test_nothing_is_lost_stored_twice_or_left_whatever_fails(
    cluster: Cluster, times: list[float], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    faults = [chance.choice(FAULTS) for _ in range(FAULTS_OF_ROUND)]
    senders = Senders(cluster.front, passing=PASSING | {"taken_over"})
    large = tmp_path / "large.bin"
    large.write_bytes(chance.randbytes(LARGE))
    with sending_command(cluster, large) as command, senders.running():
        for number, fault in enumerate(faults):
            senders.wait_for(3)

            def broken(attempt: Attempt, fault: Fault = fault) -> Signal:
                attempt.send(7 * MIB)
                fault(cluster, chance)
                return attempt.send_all()

            name = f"long-{number}.bin"
            senders.send(name, content(name, 12 * MIB), first=broken)
        senders.wait_for(3)
        assert command.wait(PATIENCE) == 0, (tmp_path / "command").read_text()
    sent = cluster.large_bytes() / LARGE
    senders.offered[large.name] = sha1(large.read_bytes())
    senders.stored[large.name] = Stored(large.name, senders.offered[large.name])
    cluster.stop()
    with ExitStack() as opened:
        ledger = LedgerNodes(cluster.url, opened).start("looking")
        found = assert_nothing_lost(ledger, senders, cluster.bucket, tmp_path)
        held = ledger.holdings().values()
        assert sum(each.files for each in held) == len(found.recorded)
        assert not any(each.reserved or each.uploads or each.kept for each in held)
    names = ", ".join(fault.__name__ for fault in faults)
    heard = f"{len(senders.stored)} confirmed, {dict(senders.heard)}, {sent:.3f} times the bytes"
    report(f"{seed}: {len(cluster.nodes)} nodes, {names}: {heard}")
    times.append(sent)
