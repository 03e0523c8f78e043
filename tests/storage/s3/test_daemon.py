"""The daemon and galileo-send, with files in object storage."""

import json
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from helpers.clients import read_all, read_head, some_bytes
from helpers.daemon import Daemon, free_port, poll, run_galileod
from helpers.engines.between import Between
from helpers.engines.buckets import Bucket
from helpers.reloading import reload
from helpers.resuming import ResumingClient, read_ledger, sha1
from helpers.s3_daemon import PREFIX, Start, contents, send
from helpers.s3_store import MIB, PART
from helpers.sending import GALILEO_SEND, run_process
from helpers.service import HEALTH

pytestmark = pytest.mark.timeout(120)

LARGE = some_bytes(40 * MIB)


def files(host: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_galileod("files", *arguments, "--config", host.config)


def listed(host: Daemon) -> dict[str, str]:
    said = files(host, "list", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["path"]: row["sha1"] for row in json.loads(said.stdout)["files"]}


def test_files_of_all_sizes_are_stored_listed_and_removed(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start()
    assert host.find("server.started", directory=f"s3://{bucket.name}/files")
    sizes = {f"{number}.bin": number * 1000 for number in range(50)}
    sizes |= {"part.bin": PART, "more.bin": PART + 1, "large.bin": len(LARGE)}
    folder = tmp_path / "sent"
    folder.mkdir()
    paths = [folder / name for name in sizes]
    for path in paths:
        path.write_bytes(LARGE[: sizes[path.name]])
    send(host, *paths)
    expected = {path.name: sha1(path.read_bytes()) for path in paths}
    assert contents(bucket) == listed(host) == expected
    assert bucket.unfinished() == 0
    as_logged = f"s3://{bucket.name}/files/1.bin"
    assert files(host, "remove", "large.bin", as_logged).returncode == 0
    del expected["large.bin"], expected["1.bin"]
    assert contents(bucket) == listed(host) == expected


def client_of(host: Daemon, size: int = 12 * MIB) -> ResumingClient:
    return ResumingClient(host.url, LARGE[:size])


def assert_stored_once(host: Daemon, bucket: Bucket, client: ResumingClient) -> None:
    assert contents(bucket) == listed(host) == {client.name: sha1(client.data)}
    assert bucket.unfinished() == 0


def resume(client: ResumingClient, offset: int) -> None:
    with client.attempt() as attempt:
        assert attempt.first["offset"] == offset
        assert offset == 0 or attempt.first["check"]["value"] == sha1(client.data[:offset])
        assert attempt.finish() == client.stored()


@pytest.mark.parametrize("sent", [MIB, 7 * MIB, 2 * PART])
def test_an_upload_goes_on_after_its_line_was_lost(start: Start, bucket: Bucket, sent: int) -> None:
    host = start()
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(sent)
        attempt.cut()
    assert host.wait_for("upload.kept", name=client.name)["offset"] == sent
    resume(client, sent)
    assert_stored_once(host, bucket, client)


def test_an_upload_goes_on_after_the_daemon_has_ended(start: Start, bucket: Bucket) -> None:
    host = start(server={"drain_timeout": 0.2})
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(8 * MIB)
        poll("the first part", lambda: parts(bucket) == [1])
        host.send_signal(signal.SIGTERM)
        assert attempt.last()["code"] == "shutting_down"
    assert host.wait() == 0
    client = client.at(host.start().url)
    resume(client, 8 * MIB)
    assert_stored_once(host, bucket, client)


def test_an_upload_goes_on_with_its_whole_parts_after_the_daemon_was_killed(
    start: Start, bucket: Bucket
) -> None:
    host = start()
    client = client_of(host)
    with client.attempt() as attempt:
        attempt.send(11 * MIB)
        poll("two parts", lambda: len(parts(bucket)) == 2)
        poll("their entries", lambda: entered(host) == 2)
        host.kill()
    client = client.at(host.start().url)
    resume(client, 2 * PART)
    assert_stored_once(host, bucket, client)


def parts(bucket: Bucket) -> list[int]:
    """The numbers of the parts of the only upload."""
    uploads = bucket.raw.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    return [
        part["PartNumber"]
        for each in uploads
        for part in bucket.raw.list_parts(
            Bucket=bucket.name, Key=each["Key"], UploadId=each["UploadId"]
        ).get("Parts", [])
    ]


def entered(host: Daemon) -> int:
    ((count,),) = read_ledger(host, "SELECT count(*) FROM parts")
    return int(count)


def test_galileo_send_goes_on_when_the_daemon_was_killed(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start(server={"listen": [f"127.0.0.1:{free_port()}"]})
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    sending = subprocess.Popen(
        [GALILEO_SEND, "--limit-rate", "12MB", host.url, path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        poll("two parts", lambda: len(parts(bucket)) >= 2)
        host.kill()
        host.start()
        _, said = sending.communicate(timeout=60)
    finally:
        sending.kill()
    assert sending.returncode == 0, said
    assert host.find("upload.resumed")
    assert contents(bucket) == listed(host) == {"large.bin": sha1(LARGE)}
    assert bucket.unfinished() == 0


def test_files_expire_and_hooks_hear_of_them(start: Start, bucket: Bucket, tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text('#!/bin/sh\npwd >> "$0.log"\ncat >> "$0.log"\necho >> "$0.log"\n')
    script.chmod(0o755)
    hooks = {"stored": [str(script)], "removed": [str(script)]}
    host = start({"retention": "1s"}, hooks=hooks)
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    send(host, path)
    host.wait_for("file.expired", path="a.bin")
    assert contents(bucket) == listed(host) == {}
    log = tmp_path / "hook.log"
    poll("both receipts", lambda: log.exists() and len(log.read_text().splitlines()) == 4)
    first, receipt, *_ = log.read_text().splitlines()
    assert first == str(host.directory)
    assert json.loads(receipt)["path"] == f"s3://{bucket.name}/files/a.bin"


def test_files_are_replaced_where_that_is_wanted(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start({"on_conflict": "replace"})
    path = tmp_path / "a.bin"
    for size in (PART + 1, 1000, 2 * PART):
        path.write_bytes(LARGE[:size])
        send(host, path)
        assert contents(bucket) == listed(host) == {"a.bin": sha1(LARGE[:size])}


def test_a_start_without_its_bucket_says_so(start: Start, bucket: Bucket) -> None:
    host = start()
    assert host.stop() == 0
    bucket.raw.delete_bucket(Bucket=bucket.name)
    host.spawn()
    assert host.wait() == 1
    (line,) = host.log()
    assert line["event"] == "server.failed"
    assert line["reason"].startswith("the bucket does not exist")
    bucket.raw.create_bucket(Bucket=bucket.name)
    host.start()


def test_a_rescan_without_its_bucket_says_so(start: Start, bucket: Bucket) -> None:
    host = start()
    bucket.raw.delete_bucket(Bucket=bucket.name)
    said = files(host, "rescan")
    assert said.returncode == 1
    assert said.stderr.startswith("galileod: the bucket does not exist (ListObjectsV2, bucket ")
    said = files(host, "remove", "s3://elsewhere/a.bin")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("galileod: s3://elsewhere/a.bin: ")


def test_a_client_is_not_told_where_the_files_are(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start()
    bucket.raw.delete_bucket(Bucket=bucket.name)
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    sent = run_process("--retries", "0", host.url, path)
    assert sent.returncode != 0
    assert b"the bucket does not exist" in sent.stderr
    assert bucket.name.encode() not in sent.stderr
    line = host.wait_for("upload.failed")
    assert f'the bucket does not exist (PutObject, bucket "{bucket.name}"' in str(line["reason"])
    host.stderr.unlink()  # the storage's error was expected


def test_a_health_check_is_not_told_where_the_files_are(start: Start, bucket: Bucket) -> None:
    host = start()
    bucket.raw.delete_bucket(Bucket=bucket.name)
    with host.dial() as sock:
        sock.sendall(HEALTH)
        reply = read_head(sock)
        body = reply.body + read_all(sock)
    assert (reply.status, body) == (503, b"The storage does not work: the bucket does not exist.\n")
    place = f'(ListObjectsV2, bucket "{bucket.name}" at {bucket.server.url})'
    reason = host.wait_for("storage.failing")["reason"]
    assert reason.startswith(f"the bucket does not exist {place}; create it, or correct ")


def test_a_client_is_not_told_where_a_part_could_not_be_stored(
    start: Start, bucket: Bucket
) -> None:
    host = start()
    client = client_of(host, len(LARGE))
    with client.attempt() as attempt:
        attempt.send(PART)
        poll("a part", lambda: len(parts(bucket)) == 1)
        (upload,) = bucket.raw.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
        which = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        bucket.raw.abort_multipart_upload(Bucket=bucket.name, **which)
        said = attempt.send_until_failed()
    reason = "The storage failed: the multipart upload does not exist any more"
    assert said["error"] == f"{reason}."
    line = host.wait_for("upload.failed", name=client.name)
    assert str(line["reason"]).startswith(f'{reason} (UploadPart, bucket "{bucket.name}"')
    host.stderr.unlink()  # the storage's error was expected


@pytest.fixture
def between(bucket: Bucket) -> Iterator[Between]:
    with Between(bucket.server) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("size", "publishes"),
    [(1000, "PUT /{}/files/a.bin"), (12 * MIB, "POST /{}/files/a.bin?uploadId")],
)
def test_a_client_hears_close_although_the_answer_to_its_publication_was_lost(
    start: Start, bucket: Bucket, between: Between, tmp_path: Path, size: int, publishes: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(LARGE[:size])
    host = start({"s3": s3_by(between, bucket, tmp_path)})
    between.lose(publishes.format(bucket.name).encode())
    send(host, path)
    assert between.lost == 1
    assert contents(bucket) == listed(host) == {"a.bin": sha1(LARGE[:size])}
    assert bucket.unfinished() == 0


def s3_by(between: Between, bucket: Bucket, folder: Path) -> Mapping[str, object]:
    """The settings of `[storage.s3]` for a proxy."""
    return bucket.settings(folder, prefix=PREFIX, part_size="5MiB", endpoint=between.server.url)


def test_a_reload_of_the_part_size_applies_to_files_begun_from_then_on(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start()
    path = tmp_path / "a"
    path.write_bytes(LARGE[: 11 * MIB])

    def parts() -> str:
        """How many parts the file was stored in, from the end of its ETag."""
        send(host, path)
        (key,) = bucket.contents()
        etag: str = bucket.raw.head_object(Bucket=bucket.name, Key=key)["ETag"]
        bucket.raw.delete_object(Bucket=bucket.name, Key=key)
        return etag.strip('"').rpartition("-")[2]

    assert parts() == "3"
    s3 = tomllib.loads(host.config.read_text())["storage"]["s3"]
    told = reload(host, {"storage": {"on_conflict": "replace", "s3": {**s3, "part_size": "6MiB"}}})
    assert told["changed"] == ["storage.on_conflict", "storage.s3.part_size"]
    assert parts() == "2"
