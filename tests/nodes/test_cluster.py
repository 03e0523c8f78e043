"""Nodes behind HAProxy while nodes, a gateway, the OSD and PostgreSQL fail at random, and while
nodes are upgraded.

Whatever becomes of them, nothing that was confirmed is lost, and nothing is left or stored twice.
"""

import random
import re
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
from helpers.nodes import newer_galileod
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
def seed() -> int:
    """That of a test without chance, which makes three nodes."""
    return 1


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


PERSISTENT: Final = ("--retries", "100", "--retry-delay", "100ms", "--retry-connrefused")
"""Options of `galileo-send` for an outage that lasts."""


@contextmanager
def sending_command(
    cluster: Cluster, path: Path, *options: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """`galileo-send` as a process."""
    output = path.with_suffix(".log")
    with output.open("wb") as written:
        command: list[str | Path] = [GALILEO_SEND, *options, cluster.large.url, path]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=written
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def note_stored(senders: Senders, path: Path) -> None:
    """A file was stored that `sending_command` has sent.

    It may have another name, as long as an attempt that failed has not been forgotten yet.
    """
    hash_ = senders.offered[path.name] = sha1(path.read_bytes())
    said = re.search(
        r"^stored .+? as (.+) \([^()]+\)$", path.with_suffix(".log").read_text(), re.MULTILINE
    )
    senders.stored[path.name] = Stored(said[1] if said else path.name, hash_)


def check_left(cluster: Cluster, senders: Senders, folder: Path) -> None:
    """Stop the nodes, and compare what there is with what was confirmed."""
    cluster.stop()
    with ExitStack() as opened:
        ledger = LedgerNodes(cluster.url, opened).start("looking")
        found = assert_nothing_lost(ledger, senders, cluster.bucket, folder)
        held = ledger.holdings().values()
        assert sum(each.files for each in held) == len(found.recorded)
        assert not any(each.reserved or each.uploads or each.kept for each in held)


@pytest.mark.parametrize("seed", seeds(3, 30))
def test_nothing_is_lost_stored_twice_or_left_whatever_fails(
    cluster: Cluster, times: list[float], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    faults = [chance.choice(FAULTS) for _ in range(FAULTS_OF_ROUND)]
    senders = Senders(cluster.front, passing=PASSING | {"taken_over"})
    large = tmp_path / "large.bin"
    # One call gives less than 256 MiB.
    large.write_bytes(b"".join(chance.randbytes(MIB) for _ in range(LARGE // MIB)))
    with sending_command(cluster, large, *PERSISTENT) as command, senders.running():
        for number, fault in enumerate(faults):
            senders.wait_for(3)

            def broken(attempt: Attempt, fault: Fault = fault) -> Signal:
                attempt.send(7 * MIB)
                fault(cluster, chance)
                return attempt.send_all()

            name = f"long-{number}.bin"
            senders.send(name, content(name, 12 * MIB), first=broken)
        senders.wait_for(3)
        assert command.wait(PATIENCE) == 0, large.with_suffix(".log").read_text()
    sent = cluster.large_bytes() / LARGE
    note_stored(senders, large)
    check_left(cluster, senders, tmp_path)
    names = ", ".join(fault.__name__ for fault in faults)
    heard = f"{len(senders.stored)} confirmed, {dict(senders.heard)}, {sent:.3f} times the bytes"
    report(f"{seed}: {len(cluster.nodes)} nodes, {names}: {heard}")
    times.append(sent)


UPLOADS: Final = 4
"""Of `galileo-send`, which go on while all nodes are upgraded."""

UPGRADED: Final = rounds(66, 297) * MIB
"""Bytes of each."""

RATE: Final = rounds(3, 10)
"""MiB of each in a second."""


def test_uploads_go_on_while_nodes_are_upgraded_one_after_the_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    """With the options that galileo-send has by default, but slowly."""
    files = [tmp_path / f"file-{number}.bin" for number in range(UPLOADS)]
    senders = Senders(cluster.front, passing=PASSING | {"taken_over"})
    newer = newer_galileod(compatible=True)
    first, second, last = cluster.nodes
    with ExitStack() as stack:
        commands = list[subprocess.Popen[bytes]]()
        for path in files:
            path.write_bytes(content(path.name, 11 * MIB) * (UPGRADED // (11 * MIB)))
            sending = sending_command(cluster, path, "--limit-rate", f"{RATE}MiB")
            commands.append(stack.enter_context(sending))
        stack.enter_context(senders.running())
        # An older node starts again after the tables were changed.
        for node, before in ((first, newer), (last, ""), (second, newer), (last, newer)):
            senders.wait_for(3)
            cluster.upgrade(node, before)
        senders.wait_for(3)
        for command, path in zip(commands, files, strict=True):
            assert command.wait(PATIENCE) == 0, path.with_suffix(".log").read_text()
            note_stored(senders, path)
    assert any("Attempt 2 begins" in path.with_suffix(".log").read_text() for path in files)
    sent = cluster.large_bytes() / (UPLOADS * UPGRADED)
    heard = f"{len(senders.stored)} confirmed, {dict(senders.heard)}"
    report(f"upgrades: {heard}, {sent:.3f} times the bytes")
    assert sent <= 1.1
    check_left(cluster, senders, tmp_path)
