"""Starts for which the object storage is not there, or goes away in the middle."""

import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from helpers.clients import say, some_bytes
from helpers.daemon import Daemon, write_config
from helpers.engines.buckets import Bucket, write_credentials
from helpers.engines.troubles import Act, Request, Troubles, lost, says
from helpers.notified import hear, listening_at
from helpers.ports import reserve
from helpers.resuming import ResumingClient, push, sha1
from helpers.s3_daemon import PREFIX, contents
from helpers.s3_store import MIB

pytestmark = pytest.mark.timeout(120)

QUICK = """
from galileod.daemon import progress
from galileod.storage.s3 import session
progress.REPORT_SECONDS = progress.FIRST_PAUSE = progress.LAST_PAUSE = 0.02
# Each failure is told at once; but what hangs does so for longer than a test.
session.ATTEMPTS = 1
session.CHECK_SECONDS = session.READ_SECONDS = 9999.0
"""

OPENING = "opening the bucket"
FINDING = "finding interrupted uploads"
LOOKING = "looking at the files of the ledger"

DATA = some_bytes(12 * MIB)

Make = Callable[..., Daemon]
"""A daemon for a port, not started; with further settings of `[storage.s3]`."""


@pytest.fixture
def make(bucket: Bucket, tmp_path: Path) -> Iterator[Make]:
    made: list[Daemon] = []

    def of(url: str, **more: str) -> Daemon:
        s3: Any = {"prefix": PREFIX, "part_size": "5MiB", "endpoint": url, **more}
        tables = {"storage": {"backend": "s3", "s3": bucket.settings(tmp_path, **s3)}}
        made.append(Daemon(tmp_path / f"daemon-{len(made)}", tables, before=QUICK))
        return made[-1].__enter__()

    yield of
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def troubles(bucket: Bucket) -> Iterator[Troubles]:
    with Troubles(bucket.server) as proxy:
        yield proxy


def url_of(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_a_start_waits_until_somebody_listens(
    make: Make, bucket: Bucket, run_folder: Path, tmp_path: Path
) -> None:
    with closing(reserve()) as sock, listening_at(run_folder / "notify") as manager:
        s3 = bucket.settings(tmp_path, prefix=PREFIX, endpoint=url_of(sock))
        host = Daemon(
            tmp_path / "daemon",
            {"storage": {"backend": "s3", "s3": s3}},
            environ={"NOTIFY_SOCKET": str(run_folder / "notify")},
            before=QUICK,
        )
        with host:
            host.spawn()
            line = host.wait_for("server.waiting", level="warning", phase=OPENING)
            reason = (
                "the connection to the object storage has failed: Connection refused"
                f' (HeadBucket, bucket "{bucket.name}" at {url_of(sock)})'
            )
            assert line["reason"] == reason
            status = f"STATUS=Starting: {OPENING}, waiting: {reason}"
            hear(manager, lambda line: line == status)
            heard = hear(manager, lambda line: line == "EXTEND_TIMEOUT_USEC=30000000")
            assert "READY=1" not in heard
            with Troubles(bucket.server, sock):
                host.listen = host.wait_for("server.started")["listen"]
                hear(manager, lambda line: line == "READY=1")
                assert push(ResumingClient(host.url, DATA)) == "stored"


@pytest.mark.parametrize(
    "act", [says(500, "InternalError"), says(502, "BadGateway"), says(503, "SlowDown"), lost]
)
def test_a_start_waits_while_the_store_fails(make: Make, troubles: Troubles, act: Act) -> None:
    host = make(troubles.server.url)
    troubles.always(act)
    host.spawn()
    host.wait_for("server.waiting", phase=OPENING)
    troubles.always(None)
    host.wait_for("server.started")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bucket": "no-such-bucket"}, "the bucket does not exist ("),
        ({"access_key": "AKIDOTHER"}, "the access key is not known there, or is disabled ("),
    ],
)
def test_a_start_ends_where_an_administrator_must_do_something(
    make: Make, bucket: Bucket, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    key = change.pop("access_key", bucket.server.access_key)
    host = make(bucket.server.url, **change)
    write_credentials(tmp_path / "credentials", evolve(bucket.server, access_key=key))
    host.spawn()
    assert host.wait() == 1
    (line,) = host.log()
    host.stderr.unlink()  # the error was expected
    assert line["event"] == "server.failed"
    assert line["reason"].startswith(reason)


def test_a_signal_ends_a_start_that_waits(make: Make) -> None:
    with closing(reserve()) as sock:
        host = make(url_of(sock))
        host.spawn()
        host.wait_for("server.waiting")
        assert host.stop() == 0
        assert host.find("server.stopped")


def test_a_signal_ends_a_start_whose_store_hangs(make: Make, troubles: Troubles) -> None:
    held = troubles.hang()
    host = make(troubles.server.url)
    host.spawn()
    held.wait()
    assert host.stop() == 0
    assert host.find("server.stopped")


@pytest.fixture
def completing(make: Make, troubles: Troubles) -> tuple[Daemon, ResumingClient]:
    """A daemon that was killed before it heard that a file is published."""
    host = make(troubles.server.url).start()
    client = ResumingClient(host.url, DATA)
    held = troubles.hold("Complete")
    with client.attempt() as attempt:
        attempt.send(len(DATA))
        say(attempt.websocket, finished=True, hash=attempt.hash())
        held.wait()
        host.kill()
    held.release()
    return host, client


def test_a_store_that_fails_while_uploads_are_found_is_waited_for(
    completing: tuple[Daemon, ResumingClient], troubles: Troubles, bucket: Bucket
) -> None:
    host, client = completing
    troubles.always(says(503, "SlowDown"), "HeadObject")
    for _ in range(2):
        host.spawn()
        host.wait_for("server.waiting", phase=FINDING)
        assert host.stop() == 0
    host.spawn()
    host.wait_for("server.waiting", phase=FINDING)
    troubles.always(None, "HeadObject")
    host.listen = host.wait_for("server.started")["listen"]
    assert push(client.at(host.url)) == "stored"
    assert contents(bucket) == {client.name: sha1(client.data)}
    assert bucket.unfinished() == 0


def test_a_signal_ends_a_start_that_hangs_while_uploads_are_found(
    completing: tuple[Daemon, ResumingClient], troubles: Troubles
) -> None:
    host, _ = completing
    held = troubles.hang("HeadObject")
    host.spawn()
    held.wait()
    assert host.stop() == 0
    assert host.find("server.stopped")


def test_a_store_is_waited_for_but_not_until_it_removes_what_is_left_of_an_upload(
    make: Make, troubles: Troubles
) -> None:
    host = make(troubles.server.url).start()
    client = ResumingClient(host.url, DATA)
    held = troubles.hold("UploadPart", before=True)
    with client.attempt() as attempt:
        attempt.send(6 * MIB)
        held.wait()
        host.kill()
    held.release()
    troubles.on("HeadBucket", Request.forward)  # of the opening
    troubles.always(says(503, "SlowDown"), "Abort", "HeadBucket", "ListObjects")
    host.spawn()
    host.wait_for("storage.not_removed")
    host.wait_for("server.waiting", phase=FINDING)
    troubles.always(None, "HeadBucket", "ListObjects")
    host.wait_for("server.started")
    assert troubles.seen["Abort"] == 1


def test_a_store_that_fails_while_the_files_of_a_ledger_are_looked_at_is_waited_for(
    make: Make, troubles: Troubles, bucket: Bucket
) -> None:
    host = make(troubles.server.url).start()
    client = ResumingClient(host.url, b"content")
    assert push(client) == "stored"
    assert host.stop() == 0
    source = {"Bucket": bucket.name, "Key": f"{PREFIX}{client.name}"}
    bucket.raw.copy_object(Bucket=bucket.name, Key=f"other/{client.name}", CopySource=source)
    tables = tomllib.loads(host.config.read_text())
    tables["storage"]["s3"]["prefix"] = "other/"
    write_config(host.config, tables)
    troubles.always(says(503, "SlowDown"), "HeadObject")
    host.spawn()
    host.wait_for("server.waiting", phase=LOOKING)
    troubles.always(None, "HeadObject")
    host.wait_for("server.started")
    assert host.find("ledger.moved")
