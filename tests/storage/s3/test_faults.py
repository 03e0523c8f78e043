"""Processes of the object storage that are killed, hang or are down while clients send.

Whatever becomes of them, nothing that was confirmed is lost, and nothing is left or stored twice.
"""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve, frozen
from botocore.config import Config
from botocore.exceptions import HTTPClientError
from helpers.clients import Signal
from helpers.engines.between import Between
from helpers.engines.buckets import Bucket, new_bucket, raw_client
from helpers.engines.ceph import Ceph
from helpers.resuming import Attempt
from helpers.rounds import report, rounds, seeds
from helpers.s3_aftermath import Troubled, assert_intact, troubled
from helpers.s3_senders import Senders, content
from helpers.s3_store import MIB

OUTAGE: Final = rounds(1.0, 30.0)
"""Seconds that a process is down for, or hangs."""

HANGS: Final = (1.0, 2.5, rounds(4.0, 12.0))
"""Seconds that a gateway hangs, with a daemon that waits for half a second for each answer."""

IMPATIENT: Final = """
import galileod.storage.s3.session, galileod.storage.s3.patience
galileod.storage.s3.session.READ_SECONDS = 0.5
galileod.storage.s3.session.COMPLETE_SECONDS = 0.5
galileod.storage.s3.patience.PATIENCE_SECONDS = {}
"""

pytestmark = pytest.mark.timeout(rounds(240, 3600))


@frozen
class Scene:
    """What a fault may concern."""

    ceph: Ceph
    bucket: Bucket
    host: Troubled


Fault = Callable[[Scene], None]


def gateway_killed(scene: Scene) -> None:
    scene.ceph.kill("rgw")
    scene.ceph.spawn_gateway("rgw")


def gateway_stopped(scene: Scene) -> None:
    hang(scene, "rgw")


def osd_stopped(scene: Scene) -> None:
    hang(scene, "osd")


def osd_down(scene: Scene) -> None:
    scene.ceph.end_osd()
    await_silence(scene)
    scene.ceph.start_osd()


def daemon_and_gateway_killed(scene: Scene) -> None:
    scene.host.kill()
    gateway_killed(scene)
    scene.host.start()


FAULTS: Final = (gateway_killed, gateway_stopped, osd_stopped, osd_down, daemon_and_gateway_killed)


def hang(scene: Scene, process: str, seconds: float = OUTAGE) -> None:
    scene.ceph.signal(process, signal.SIGSTOP)
    try:
        await_silence(scene, seconds)
    finally:
        scene.ceph.signal(process, signal.SIGCONT)


def await_silence(scene: Scene, seconds: float = OUTAGE) -> None:
    """Return once a request was not answered for the time of an outage."""
    config = Config(
        connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1}
    )
    asking = raw_client(scene.bucket.server, config=config)
    with pytest.raises(HTTPClientError):
        asking.put_object(Bucket=scene.bucket.name, Key="probe", Body=b"")


@pytest.fixture
def scene(breakable: Ceph, tmp_path: Path) -> Iterator[Scene]:
    bucket = new_bucket(breakable.server)
    with troubled(bucket, tmp_path) as host:
        yield Scene(breakable, bucket, host.start())
    # Its memory is the machine's.
    breakable.admin("bucket", "rm", f"--bucket={bucket.name}", "--purge-objects", "--bypass-gc")


def endure(scene: Scene, folder: Path, *faults: Fault) -> None:
    """Have them while clients send, and another one is in the middle of its upload."""
    senders = Senders(scene.host)
    with senders.running():
        for number, fault in enumerate(faults):
            senders.wait_for(1)

            def broken(attempt: Attempt, fault: Fault = fault) -> Signal:
                attempt.send(7 * MIB)
                fault(scene)
                return attempt.send_all()

            name = f"long-{number}.bin"
            senders.send(name, content(name, 12 * MIB), first=broken)
        senders.wait_for(1)
    assert_intact(senders, scene.bucket, folder)
    names = ", ".join(fault.__name__ for fault in faults)
    report(f"{names}: {len(senders.stored)} confirmed, {dict(senders.heard)}")


def test_nothing_is_lost_or_left_after_one_of_two_gateways_was_killed(
    breakable: Ceph, tmp_path: Path
) -> None:
    breakable.allow_sessions("writer")
    bucket = new_bucket(breakable.server)
    other = evolve(breakable.server, url=f"http://127.0.0.1:{breakable.ports['rgw2']}")
    with (
        Between(breakable.server, also=[other]) as between,
        troubled(bucket, tmp_path, s3={"endpoint": between.server.url}) as host,
    ):
        senders = Senders(host.start())
        with senders.running():
            senders.wait_for(1)
            breakable.kill("rgw")
            senders.wait_for(3)
            breakable.spawn_gateway("rgw")
            senders.wait_for(1)
        assert_intact(senders, bucket, tmp_path)


@pytest.mark.parametrize("seed", seeds(1, 8))
def test_nothing_is_lost_or_left_after_each_of_them(
    scene: Scene, tmp_path: Path, seed: int
) -> None:
    report(f"seed {seed}")
    faults = random.Random(seed).sample(FAULTS, len(FAULTS))
    endure(scene, tmp_path, *faults)


@pytest.mark.parametrize("patience", [60.0, 0.1])
def test_a_gateway_that_hangs_leaves_nothing_that_nobody_was_told_of(
    breakable: Ceph, tmp_path: Path, patience: float
) -> None:
    # It carries out what has waited once it goes on, when all of it was given up.
    bucket = new_bucket(breakable.server)
    with troubled(bucket, tmp_path, before=IMPATIENT.format(patience)) as host:
        scene, senders = Scene(breakable, bucket, host.start()), Senders(host)
        with senders.running():
            for seconds in HANGS:
                senders.wait_for(1)
                hang(scene, "rgw", seconds)
            senders.wait_for(1)
        assert_intact(senders, bucket, tmp_path)
    report(f"{len(senders.stored)} confirmed, {dict(senders.heard)}")
    breakable.admin("bucket", "rm", f"--bucket={bucket.name}", "--purge-objects", "--bypass-gc")
