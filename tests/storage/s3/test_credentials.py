"""Credentials that change while a client is in use, and tokens of sessions."""

from pathlib import Path
from typing import Final

import botocore.session
import pytest
from attrs import evolve
from helpers.engines.buckets import Bucket, new_bucket, write_credentials
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from storage.s3.conftest import OpenClient

from galileod.storage.errors import StorageError

ARN: Final = "arn:aws:iam:::role/writer"


def test_credentials_that_are_replaced_are_used_at_once(
    tmp_path: Path, bucket: Bucket, open_client: OpenClient
) -> None:
    wrong = evolve(bucket, server=evolve(bucket.server, secret_key="old"))  # noqa: S106
    client = open_client(wrong)
    upload = bucket.raw.create_multipart_upload(Bucket=bucket.name, Key="a")["UploadId"]
    with pytest.raises(StorageError, match="the secret does not belong to the access key"):
        client.upload_part("a", upload, 1, b"data")
    write_credentials(tmp_path / "credentials", bucket.server)
    client.complete("a", upload, [(1, client.upload_part("a", upload, 1, b"data"))])
    assert bucket.contents() == {"a": b"data"}


@pytest.fixture
def sessions(breakable: Ceph) -> tuple[Ceph, Server]:
    """A Ceph, and its gateway that accepts tokens of sessions."""
    breakable.allow_sessions("writer")
    return breakable, evolve(breakable.server, url=f"http://127.0.0.1:{breakable.ports['rgw2']}")


def test_the_token_of_a_session_is_sent(
    tmp_path: Path, sessions: tuple[Ceph, Server], open_client: OpenClient
) -> None:
    ceph, server = sessions
    bucket = new_bucket(ceph.server)
    sts = botocore.session.Session().create_client(
        "sts",
        endpoint_url=server.url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    given = sts.assume_role(RoleArn=ARN, RoleSessionName="session")["Credentials"]
    token = given["SessionToken"]
    session = evolve(server, access_key=given["AccessKeyId"], secret_key=given["SecretAccessKey"])
    client = open_client(evolve(bucket, server=session))
    with pytest.raises(StorageError, match="access is denied"):
        client.put("a", b"data", {}, new=True)
    write_credentials(tmp_path / "credentials", session, token)
    client.put("a", b"data", {}, new=True)
    assert bucket.contents() == {"a": b"data"}
    write_credentials(tmp_path / "credentials", session, token[:-8] + "AAAAAAA=")
    with pytest.raises(StorageError) as caught:
        client.put("b", b"data", {}, new=True)
    assert token[:8] not in str(caught.value)
    assert session.access_key not in str(caught.value)
