"""A store that is full, denies, forgets its bucket or its sessions, and is well again later."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import botocore.session
import pytest
from attrs import evolve
from botocore.config import Config
from botocore.exceptions import ClientError
from helpers.clients import Signal, ask
from helpers.daemon import Daemon, poll
from helpers.engines.buckets import Bucket, new_bucket, raw_client, write_credentials
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from helpers.resuming import Attempt, ResumingClient, sha1
from helpers.s3_aftermath import Troubled, assert_intact, found_in, swept, troubled
from helpers.s3_senders import Senders, content
from helpers.s3_store import MIB, PART

pytestmark = pytest.mark.timeout(120)

SIZE: Final = 12 * MIB
FULL: Final = "its quota is exhausted, or the store is full"


@pytest.fixture
def host(bucket: Bucket, tmp_path: Path) -> Iterator[Troubled]:
    with troubled(bucket, tmp_path) as host:
        yield host.start()


def health(host: Daemon) -> tuple[int, str]:
    reply = ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
    return reply.status, reply.body.decode()


def await_health(host: Daemon) -> None:
    poll("health", lambda: health(host)[0] == 200, host.text)


def assert_unhealthy(host: Daemon, reason: str) -> None:
    status, text = health(host)
    assert (status, reason in text) == (503, True), text


def sender(host: Troubled) -> Senders:
    """For single files."""
    senders = Senders(host)
    senders.over.set()
    return senders


def send(senders: Senders, name: str) -> None:
    senders.send(name, content(name, SIZE))


def test_uploads_go_on_once_a_full_store_has_space_again(
    ceph: Ceph, bucket: Bucket, host: Troubled, tmp_path: Path
) -> None:
    quota = ("--quota-scope=bucket", f"--bucket={bucket.name}")
    senders = sender(host)
    send(senders, "first.bin")

    def fill(attempt: Attempt) -> None:
        attempt.send(7 * MIB)
        await_part(bucket)
        ceph.admin("quota", "set", *quota, f"--max-size={SIZE}")
        ceph.admin("quota", "enable", *quota)
        assert attempt.send_all()["code"] == "no_space"
        assert_unhealthy(host, FULL)
        ceph.admin("quota", "set", *quota, f"--max-size={100 * MIB}")
        await_health(host)

    senders.send("second.bin", content("second.bin", SIZE), first=fill)
    assert host.wait_for("upload.resumed", name="second.bin")["offset"] >= PART
    assert_intact(senders, bucket, tmp_path)


def deny(bucket: Bucket, *actions: str) -> None:
    resources = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    statement = {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    bucket.raw.put_bucket_policy(Bucket=bucket.name, Policy=policy)


def test_an_upload_goes_on_once_it_is_allowed_again(
    bucket: Bucket, host: Troubled, tmp_path: Path
) -> None:
    senders = sender(host)
    send(senders, "first.bin")

    def refuse(attempt: Attempt) -> None:
        attempt.send(7 * MIB)
        await_part(bucket)
        deny(bucket, "s3:PutObject")
        assert attempt.send_all()["code"] == "storage_failed"
        assert_unhealthy(host, "access is denied: the credentials lack s3:PutObject")
        bucket.raw.delete_bucket_policy(Bucket=bucket.name)
        await_health(host)

    senders.send("second.bin", content("second.bin", SIZE), first=refuse)
    assert host.wait_for("upload.resumed", name="second.bin")["offset"] >= PART
    assert_intact(senders, bucket, tmp_path)


def test_an_upload_begins_again_after_its_bucket_was_removed_and_made_again(
    ceph: Ceph, bucket: Bucket, host: Troubled, tmp_path: Path
) -> None:
    senders = sender(host)

    def purge(attempt: Attempt) -> None:
        attempt.send(7 * MIB)
        await_part(bucket)
        ceph.admin("bucket", "rm", f"--bucket={bucket.name}", "--purge-objects")
        said = attempt.send_all()
        assert (said["code"], said["error"]) == (
            "storage_failed",
            "The storage failed: the bucket does not exist.",
        )
        assert_unhealthy(host, "the bucket does not exist")
        bucket.raw.create_bucket(Bucket=bucket.name)
        await_health(host)

    senders.send("a.bin", content("a.bin", SIZE), first=purge)
    send(senders, "b.bin")
    assert_intact(senders, bucket, tmp_path)


def await_part(bucket: Bucket) -> None:
    """Wait until the only multipart upload has a part."""

    def has_part() -> bool:
        (upload,) = bucket.raw.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [None])
        which = {"Key": upload["Key"], "UploadId": upload["UploadId"]} if upload else {}
        return bool(which and bucket.raw.list_parts(Bucket=bucket.name, **which).get("Parts"))

    poll("a part", has_part)


# Sessions.


@pytest.fixture
def role(breakable: Ceph) -> Server:
    """A gateway where sessions are accepted, and a role that may do all."""
    breakable.allow_sessions("writer")
    return evolve(breakable.server, url=f"http://127.0.0.1:{breakable.ports['rgw2']}")


def session(role: Server, seconds: int) -> tuple[Server, str]:
    """The keys and the token of a new session, which ends after so many seconds."""
    sts = botocore.session.Session().create_client(
        "sts",
        endpoint_url=role.url,
        region_name=role.region,
        aws_access_key_id=role.access_key,
        aws_secret_access_key=role.secret_key,
        config=Config(parameter_validation=False),  # which knows the minimum of AWS
    )
    arn = "arn:aws:iam:::role/writer"
    given = sts.assume_role(RoleArn=arn, RoleSessionName="session", DurationSeconds=seconds)
    keys = given["Credentials"]
    server = evolve(role, access_key=keys["AccessKeyId"], secret_key=keys["SecretAccessKey"])
    return server, keys["SessionToken"]


def test_an_upload_goes_on_with_other_credentials_after_its_own_have_expired(
    breakable: Ceph, role: Server, tmp_path: Path
) -> None:
    bucket = new_bucket(breakable.server)
    folder = tmp_path / "daemon"
    file = folder / "credentials"

    def renew(seconds: int) -> tuple[Server, str]:
        server, token = session(role, seconds)
        write_credentials(file, server, token)
        return server, token

    with troubled(
        bucket, tmp_path, s3={"endpoint": role.url, "credentials_file": str(file)}
    ) as host:
        renew(900)
        host.start()
        senders = sender(host)

        def expire(attempt: Attempt) -> Signal | None:
            attempt.send(6 * MIB)
            await_part(bucket)
            await_expiry(bucket, *renew(2))
            if renewed_in_time:
                renew(900)
                return attempt.send_all()
            assert attempt.send_all()["code"] == "storage_failed"
            assert_unhealthy(host, "access is denied")
            renew(900)
            await_health(host)
            return None

        for renewed_in_time in (True, False):
            name = f"{renewed_in_time}.bin"
            senders.send(name, content(name, SIZE), first=expire)
        resumed = [line["name"] for line in host.log() if line["event"] == "upload.resumed"]
        assert resumed == ["False.bin"]
        assert_intact(senders, bucket, tmp_path)


def await_expiry(bucket: Bucket, server: Server, token: str) -> None:
    """Wait until the keys of a session are refused."""
    client = raw_client(server, token=token)

    def refused() -> bool:
        try:
            client.head_bucket(Bucket=bucket.name)
        except ClientError:
            return True
        return False

    assert not refused()
    poll("the end of the session", refused)


# Two daemons in one bucket.


def test_daemons_with_other_prefixes_leave_each_others_files_and_uploads(
    bucket: Bucket, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        hosts, clients = {}, {}
        for prefix in ("a/", "ab"):
            base = f"{prefix.rstrip('/')}/"
            host = troubled(bucket, tmp_path / base, s3={"prefix": prefix})
            hosts[base] = stack.enter_context(host).start()
            send(sender(host), "stored.bin")
            clients[base] = ResumingClient(host.url, content(base, SIZE), "kept.bin")
            with clients[base].attempt() as attempt:
                attempt.send(7 * MIB)
                attempt.cut()
            host.wait_for("upload.kept", name="kept.bin")
            bucket.raw.create_multipart_upload(Bucket=bucket.name, Key=f"{base}orphan")
        for base, host in hosts.items():
            assert host.stop() == 0
            before = state(bucket)
            swept(host, bucket, tmp_path / base, base)
            assert before - state(bucket) == {f"upload {base}orphan"}
        for base, host in hosts.items():
            with clients[base].at(host.start().url).attempt() as attempt:
                assert attempt.first["offset"] == 7 * MIB
                assert attempt.send_all() == clients[base].stored()
            assert host.stop() == 0
            assert swept(host, bucket, tmp_path / base, base) == []
            found = found_in(host, bucket, base)
            sent = {"stored.bin": content("stored.bin", SIZE), "kept.bin": content(base, SIZE)}
            expected = {name: sha1(data) for name, data in sent.items()}
            assert found.objects == found.recorded == expected


def state(bucket: Bucket) -> set[str]:
    """The objects and the unfinished uploads of a bucket."""
    uploads = bucket.raw.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    return {f"upload {each['Key']}" for each in uploads} | set(bucket.contents())
