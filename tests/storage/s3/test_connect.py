"""`galileod check-config --connect` with a bucket."""

from pathlib import Path

from attrs import evolve
from helpers.daemon import run_galileod, write_config
from helpers.engines.buckets import Bucket
from helpers.engines.ceph import Ceph

STEPS = [
    "store an object",
    "read it",
    "find it in the listing",
    "store an object in parts",
    "abort a multipart upload",
    "remove objects",
]


def connected(folder: Path, bucket: Bucket) -> tuple[int, list[str], list[str]]:
    """The exit status, and the lines of both streams."""
    directory = str(folder / "files")
    s3 = {**bucket.settings(folder), "prefix": "in"}
    settings = {"storage": {"backend": "s3", "directory": directory, "s3": s3}}
    config = write_config(folder / "galileod.toml", settings)
    ended = run_galileod("check-config", "--connect", "--config", config)
    assert not (folder / "files").exists()
    # A warning says that the directory does not exist yet.
    errors = [line for line in ended.stderr.splitlines() if "warning" not in line]
    return ended.returncode, ended.stdout.splitlines(), errors


def test_each_step_that_works_is_printed(tmp_path: Path, any_bucket: Bucket) -> None:
    status, steps, errors = connected(tmp_path, any_bucket)
    assert (status, errors) == (0, [])
    assert steps == [
        f"storage.directory: use {tmp_path}/files: ok",
        f'storage.s3: use the bucket "{any_bucket.name}": ok',
        *(f"storage.s3: {step}: ok" for step in STEPS),
    ]
    assert any_bucket.contents() == {}
    assert any_bucket.unfinished() == 0


def test_a_bucket_that_cannot_be_used_is_told_once(tmp_path: Path, bucket: Bucket) -> None:
    status, steps, errors = connected(tmp_path, evolve(bucket, name="no-such-bucket"))
    assert status == 1
    assert steps == [f"storage.directory: use {tmp_path}/files: ok"]
    (error,) = errors
    assert error.startswith(
        'galileod: storage.s3: use the bucket "no-such-bucket": the bucket does not exist ('
    )
    assert error.endswith("; create it, or correct storage.s3.bucket or storage.s3.endpoint")


def test_all_that_is_not_allowed_is_told(tmp_path: Path, ceph: Ceph, bucket: Bucket) -> None:
    reader = evolve(ceph.server, access_key="AKIDREADER", secret_key="reads")  # noqa: S106
    ceph.add_user("reader", reader.access_key, reader.secret_key)
    bucket.raw.put_bucket_acl(Bucket=bucket.name, GrantRead="id=reader")
    status, steps, errors = connected(tmp_path, evolve(bucket, server=reader))
    assert status == 1
    assert steps[1:] == [f'storage.s3: use the bucket "{bucket.name}": ok']
    assert len(errors) == len(STEPS)
    denied = "access is denied: the credentials lack s3:PutObject, or are not valid"
    assert errors[0].startswith(f"galileod: storage.s3: store an object: {denied} (PutObject, ")
    assert "; grant the right, or correct the credentials" in errors[0]


def test_a_missing_credential_is_told_by_the_environment_that_lacks_it(
    tmp_path: Path, bucket: Bucket
) -> None:
    settings = {key: text for key, text in bucket.settings(tmp_path).items() if "cred" not in key}
    storage = {"backend": "s3", "directory": str(tmp_path), "s3": settings}
    config = write_config(tmp_path / "galileod.toml", {"storage": storage})
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    ended = run_galileod("check-config", "--connect", "--config", config, environ=environ)
    assert ended.returncode == 1
    assert "there are no credentials for the object storage: expected" in ended.stderr
    keys = {
        "AWS_ACCESS_KEY_ID": bucket.server.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.server.secret_key,
    }
    ended = run_galileod(
        "check-config", "--connect", "--config", config, environ={**environ, **keys}
    )
    assert (ended.returncode, len(ended.stdout.splitlines())) == (0, len(STEPS) + 2)
