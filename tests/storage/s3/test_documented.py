"""What docs/s3.md shows and counts is so."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import botocore.exceptions
import pytest
from attrs import evolve
from helpers.clients import some_bytes
from helpers.daemon import Daemon, poll, run_galileod
from helpers.engines.buckets import Bucket, raw_client, write_credentials
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from helpers.resuming import ResumingClient, sha1
from helpers.s3_daemon import PREFIX, Start, send
from helpers.s3_store import MIB, PART

from galileod.storage.s3.client import Client
from galileod.storage.s3.store import part_size_for
from galileod.storage.s3.trial import try_all
from galileod.storage.settings import S3
from galileod.units import Size

pytestmark = pytest.mark.timeout(120)

PAGE: Final = (Path(__file__).parents[3] / "docs/s3.md").read_text()

USER: Final = "galileod"
SIZE: Final = 4 * PART + 1000


def shown(name: str) -> Any:  # noqa: ANN401  a value of JSON
    """A file that the page shows."""
    (text,) = re.findall(rf"<!-- file: {name} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    return json.loads(text)


def block(language: str) -> str:
    """The only block of the page in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def policy_for(bucket: Bucket, *without: str) -> str:
    """The policy that the page shows, for a bucket and PREFIX, without some actions."""
    policy = shown("policy.json")
    for statement in policy["Statement"]:
        resource = statement["Resource"].replace("uploads", bucket.name)
        statement["Resource"] = resource.replace("/*", f"/{PREFIX}*")
        statement["Principal"] = {"AWS": [f"arn:aws:iam:::user/{USER}"]}
        # Without any, the policy would not be valid.
        statement["Action"] = [one for one in statement["Action"] if one not in without]
        statement["Action"] += ["s3:GetBucketCORS"]
    return json.dumps(policy)


def set_policy(bucket: Bucket, *without: str) -> None:
    bucket.raw.put_bucket_policy(Bucket=bucket.name, Policy=policy_for(bucket, *without))


@pytest.fixture
def galileod(ceph: Ceph) -> Server:
    """The gateway, for a user who may do what a policy allows, and nothing else."""
    server = Server(ceph.server.url, "GALILEODGALILEODGALI", "anothersecret")
    if USER not in json.loads(ceph.admin("user", "list")):
        ceph.add_user(USER, server.access_key, server.secret_key)
    return server


@pytest.fixture
def limited(galileod: Server, bucket: Bucket, tmp_path: Path) -> Iterator[Client]:
    settings = settings_of(galileod, bucket, tmp_path)
    client = Client.open(settings, requests=4)
    yield client
    client.close()


def settings_of(server: Server, bucket: Bucket, folder: Path) -> S3:
    path = write_credentials(folder / "limited", server)
    return S3(
        bucket=bucket.name, prefix=PREFIX, endpoint=server.url, credentials_file=str(path)
    )  # fmt: skip


def interrupted(host: Daemon, data: bytes, offset: int) -> ResumingClient:
    """An upload of which so many bytes are kept."""
    client = ResumingClient(host.url, data)
    with client.attempt() as attempt:
        attempt.send(offset)
        attempt.cut()
    host.wait_for("upload.kept", offset=offset)
    return client


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    keys, config = tmp_path / "galileod.s3", tmp_path / "galileod.toml"
    keys.write_text(block("ini"))
    keys.chmod(0o640)
    text = block("toml").replace("/etc/galileod.s3", str(keys))
    config.write_text(text.replace("/var/lib/galileod", str(tmp_path)))
    done = run_galileod("check-config", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rights_are_enough(
    start: Start, bucket: Bucket, galileod: Server, tmp_path: Path
) -> None:
    set_policy(bucket)
    s3 = settings_of(galileod, bucket, tmp_path)
    values = {"endpoint": galileod.url, "credentials_file": s3.credentials_file}
    host = start({"s3": {**values, "bucket": bucket.name, "prefix": PREFIX, "part_size": "5MiB"}})
    connected = run_galileod("check-config", "--connect", "--config", host.config)
    assert (connected.returncode, connected.stderr) == (0, "")
    (small := tmp_path / "small").write_bytes(b"1")
    send(host, small)
    data = some_bytes(SIZE)
    client = interrupted(host, data, PART + 1000)
    host.stop()
    host.start()
    with client.at(host.url).attempt() as attempt:
        assert attempt.first["offset"] == PART + 1000
        assert attempt.finish()["close"] is True
    # What a user has stored belongs to that user, also in the bucket of another one.
    own = evolve(bucket, raw=raw_client(galileod, galileod.access_key, galileod.secret_key))
    assert sha1(own.read(PREFIX + client.name)) == sha1(data)
    for arguments in (("remove", "small", client.name), ("rescan",)):
        done = run_galileod("files", *arguments, "--config", host.config)
        assert (done.returncode, done.stderr) == (0, "")
    assert bucket.contents() == {}
    assert bucket.unfinished() == 0
    assert not [line for line in host.log() if "denied" in json.dumps(line)]


def test_others_read_what_is_stored_with_the_statement_for_readers(
    ceph: Ceph, bucket: Bucket, galileod: Server
) -> None:
    reader = evolve(ceph.server, access_key="AKIDDOCREADER", secret_key="reads")  # noqa: S106
    if "docreader" not in json.loads(ceph.admin("user", "list")):
        ceph.add_user("docreader", reader.access_key, reader.secret_key)
    policy = json.loads(policy_for(bucket))
    text = json.dumps(shown("readers.json")).replace("uploads", bucket.name)
    readers = json.loads(text.replace("user/reader", "user/docreader"))
    bucket.raw.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))
    raw_client(galileod).put_object(Bucket=bucket.name, Key=f"{PREFIX}a", Body=b"1")
    theirs = evolve(bucket, raw=raw_client(reader))
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        theirs.read(f"{PREFIX}a")
    policy["Statement"].append(readers)
    bucket.raw.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))
    assert theirs.contents() == {f"{PREFIX}a": b"1"}


def test_each_right_is_needed(bucket: Bucket, limited: Client, tmp_path: Path) -> None:
    settings = S3(bucket=bucket.name, prefix=PREFIX)
    actions = [one for each in shown("policy.json")["Statement"] for one in each["Action"]]
    for action in actions:
        assert f"| `{action}` |" in PAGE
        if action in {"s3:GetObject", "s3:ListMultipartUploadParts"}:
            continue  # here, who has stored an object or its parts may read them
        set_policy(bucket, action)
        reasons = [str(error) for _, error in try_all(limited, settings) if error is not None]
        assert reasons, action
        assert f"the credentials lack {action}, or" in reasons[0]
    set_policy(bucket)
    assert [error for _, error in try_all(limited, settings)] == [None] * 7


def test_the_lifecycle_rule_is_accepted(bucket: Bucket) -> None:
    rule = shown("lifecycle.json")
    bucket.raw.put_bucket_lifecycle_configuration(
        Bucket=bucket.name, LifecycleConfiguration=rule
    )  # fmt: skip
    (found,) = bucket.raw.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert found["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert found["Status"] == "Enabled"


@pytest.fixture
def counted(ceph: Ceph, bucket: Bucket) -> Callable[[dict[str, int]], None]:
    """Call it with the numbers of the requests since the last call, and their kinds."""
    before = 0

    def check(expected: dict[str, int]) -> None:
        nonlocal before

        def count() -> Counter[str]:
            return Counter(map(kind_of, ceph.requests(bucket.name)[before:]))

        # The gateway writes its log a moment after its answer.
        poll(
            f"the requests {expected}",
            lambda: count().total() >= sum(expected.values()),
            lambda: str(count()),
        )
        assert count() == expected
        before += sum(expected.values())

    return check


def kind_of(request: str) -> str:
    """The operation of a request; those of tails have `tail`."""
    method, path = request.split(" ")
    tail = " tail" if "/tails/" in path else ""
    match method, "?" in path:
        case "POST", True:
            return "Complete" if "uploadId=" in path else "Create"
        case "PUT", True:
            return "UploadPart"
        case "GET", True:
            return "ListUploads" if "?uploads" in path else "List"
    return f"{method.capitalize()}{tail}"


def test_the_requests_are_as_many_as_they_say(
    start: Start, bucket: Bucket, counted: Callable[[dict[str, int]], None], tmp_path: Path
) -> None:
    counted({"Put": 1})  # of the bucket
    host = start()
    # The check of the bucket, the look for files that a new ledger lacks, a sweep.
    counted({"Head": 1, "List": 2, "ListUploads": 1})
    (small := tmp_path / "small").write_bytes(b"1")
    send(host, small)
    counted({"Put": 1})
    (large := tmp_path / "large").write_bytes(some_bytes(SIZE))
    send(host, large)
    counted({"Head": 2, "Create": 1, "UploadPart": 5, "Complete": 1})
    client = interrupted(host, some_bytes(SIZE), PART + 1000)
    counted({"Head": 1, "Create": 1, "UploadPart": 1, "Put tail": 1})
    with client.attempt() as attempt:
        attempt.finish()
    counted(
        {"Head tail": 1, "Get tail": 1, "Delete tail": 1}
        | {"UploadPart": 4, "Complete": 1, "Head": 1}
    )
    for arguments, expected in (
        (("remove", "small"), {"Head": 1, "Delete": 1}),
        (("rescan",), {"List": 2}),
    ):
        assert run_galileod("files", *arguments, "--config", host.config).returncode == 0
        counted(expected)


@pytest.mark.parametrize(
    ("size", "part"),
    [(1 << 30, 8), (70 << 30, 8), (500 << 30, 57), (1 << 40, 117), (5 << 40, 583)],
)
def test_the_parts_are_as_large_as_they_say(size: int, part: int) -> None:
    assert part_size_for(size, Size(8 * MIB), 1 << 40) == part * MIB
    assert f"| {part} MiB | {2 * part:,} MiB |" in PAGE
