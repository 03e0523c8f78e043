"""A daemon whose ledger is new or lost, or whose bucket was changed by hand."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.daemon import Daemon, run_galileod
from helpers.engines.buckets import Bucket
from helpers.resuming import sha1
from helpers.s3_daemon import PREFIX, Start, contents, send

pytestmark = pytest.mark.timeout(120)


def put(bucket: Bucket, *names: str) -> None:
    for name in names:
        bucket.raw.put_object(Bucket=bucket.name, Key=f"{PREFIX}{name}", Body=b"12345")


def galileod(host: Daemon, *arguments: str) -> str:
    done = run_galileod(*arguments, "--config", host.config)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def users(host: Daemon) -> dict[str, int]:
    """The files of each user."""
    rows = json.loads(galileod(host, "files", "list", "--json"))["files"]
    owners = [row["user"] or "" for row in rows]
    return {user: owners.count(user) for user in owners}


def test_a_start_with_a_new_ledger_tells_that_there_are_files(start: Start, bucket: Bucket) -> None:
    put(bucket, ".galileod/tails/x", ".galileod/tails/y", ".galileod/check/z")
    host = start()
    host.stop()
    assert not host.find("ledger.owners_unknown"), "they are no files"
    put(bucket, "a", "june/b")
    host.start()
    line = host.find("ledger.owners_unknown", level="warning", files=None)
    assert line is not None
    assert "galileod files rescan" in line["advice"]
    assert line["reason"].endswith(f"files in s3://{bucket.name}/files")
    assert users(host) == {}
    said = galileod(host, "files", "rescan")
    assert said.startswith("files: 2; gone: 0, changed: 0, not recorded before: 2 (")
    assert users(host) == {"": 2}


def test_a_lost_ledger_is_filled_from_the_bucket(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start()
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    send(host, path)
    (owner,) = users(host)
    assert owner
    host.stop()
    shutil.rmtree(host.directory / ".galileod")
    host.start()
    assert host.find("ledger.owners_unknown")
    galileod(host, "files", "rescan")
    assert users(host) == {"": 1}
    send(host, path)
    assert users(host) == {"": 1, owner: 1}
    assert len(bucket.contents()) == 2


def test_the_ledger_of_a_bucket_may_be_in_postgresql(
    start: Start, bucket: Bucket, tmp_path: Path, ledger_url: str
) -> None:
    host = start(ledger={"url": ledger_url})
    files = {"small": b"12345", "large": os.urandom(12 << 20)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    send(host, *(tmp_path / name for name in files))
    host.kill()
    host.start()
    send(host, tmp_path / "small")  # its name is taken, as the ledger knows
    files["small (1)"] = files["small"]
    assert contents(bucket) == {name: sha1(data) for name, data in files.items()}
    ((_, count),) = users(host).items()
    assert count == len(files)
    assert not (host.directory / ".galileod/ledger.sqlite3").exists()


def test_a_start_sweeps(start: Start, bucket: Bucket) -> None:
    """Nothing is old enough; but whether it may be done is told."""
    denied = "s3:ListBucketMultipartUploads"
    statement = {
        "Effect": "Deny", "Principal": "*", "Action": denied,
        "Resource": f"arn:aws:s3:::{bucket.name}",
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    bucket.raw.put_bucket_policy(Bucket=bucket.name, Policy=policy)
    host = start()
    assert denied in host.wait_for("storage.not_swept", level="warning")["reason"]
    send(host, Path(__file__))
