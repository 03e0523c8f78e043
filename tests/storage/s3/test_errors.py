"""What the engines refuse, as sentences that an administrator can act on."""

import re
import socket
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import botocore.auth
import pytest
import trustme
from attrs import evolve
from helpers.certificates import server_tls
from helpers.daemon import free_port
from helpers.engines.between import Between
from helpers.engines.buckets import Bucket, new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from storage.s3.conftest import OpenClient

from galileod.storage.errors import BadNameError, NoSpaceError, StorageError, UnavailableError
from galileod.storage.s3.client import Client

ACTIONS = {
    "PutObject": lambda client: client.put("a", b"data", {}, new=True),
    "CreateMultipartUpload": lambda client: client.create("a", {}),
    "ListObjectsV2": lambda client: client.list("", "", 10),
    "DeleteObject": lambda client: client.delete("a"),
}


def said(client: Client, *, may_pass: bool = False) -> str:
    """What `check` and storing an object say, which is the same but for the operation."""
    with pytest.raises(StorageError) as checked:
        client.check()
    with pytest.raises(StorageError) as stored:
        client.put("a", b"data", {}, new=True)
    for each in (checked, stored):
        assert isinstance(each.value, UnavailableError) == may_pass
    sentence, where = stored.value.reason, stored.value.place.removeprefix(" (")
    seconds = re.compile(r"\d+ s:")  # they may be others at the next request
    assert seconds.sub("", str(checked.value).split(" (")[0]) == seconds.sub("", sentence)
    operation, place = where.partition(";")[0].split(", ")
    assert operation in {"PutObject", "ListObjectsV2"}  # which is sent beside, to learn the reason
    assert place == f'bucket "{client.bucket}" at {client.endpoint})'
    assert "secret" not in str(stored.value).replace("the secret does", "")
    return sentence


def test_a_bucket_that_does_not_exist_is_told(server: Server, open_client: OpenClient) -> None:
    missing = Bucket("no-such-bucket", server, None)
    assert said(open_client(missing)) == "the bucket does not exist"
    with pytest.raises(StorageError) as caught:
        open_client(missing).check()
    advice = "; create it, or correct storage.s3.bucket or storage.s3.endpoint"
    assert caught.value.place.endswith(advice)


def test_a_wrong_secret_is_told(any_bucket: Bucket, open_client: OpenClient) -> None:
    wrong = evolve(any_bucket, server=evolve(any_bucket.server, secret_key="wrong"))  # noqa: S106
    assert said(open_client(wrong)) == "the secret does not belong to the access key"
    with pytest.raises(StorageError, match="; correct the credentials"):
        open_client(wrong).check()


def test_an_unknown_access_key_is_told(any_bucket: Bucket, open_client: OpenClient) -> None:
    wrong = evolve(any_bucket, server=evolve(any_bucket.server, access_key="AKIDOTHER"))
    assert said(open_client(wrong)) in {
        "the access key is not known there, or is disabled",
        "the secret does not belong to the access key",  # Swift makes no difference
    }


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("PutObject", "s3:PutObject"),
        ("CreateMultipartUpload", "s3:PutObject"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("DeleteObject", "s3:DeleteObject"),
    ],
)
def test_a_permission_that_is_missing_is_named(
    ceph: Ceph, bucket: Bucket, open_client: OpenClient, operation: str, permission: str
) -> None:
    stranger = add_stranger(ceph)
    client = open_client(evolve(bucket, server=stranger))
    with pytest.raises(StorageError) as caught:
        ACTIONS[operation](client)
    sentence = (
        f"access is denied: the credentials lack {permission}, or are not valid ({operation}, "
    )
    assert str(caught.value).startswith(sentence)


def test_a_bucket_that_is_not_ours_is_told(
    ceph: Ceph, bucket: Bucket, open_client: OpenClient
) -> None:
    client = open_client(evolve(bucket, server=add_stranger(ceph)))
    with pytest.raises(StorageError, match="access is denied: the credentials lack s3:ListBucket"):
        client.check()


def test_a_quota_that_is_exhausted_is_told_as_no_space(ceph: Ceph, open_client: OpenClient) -> None:
    owner = evolve(ceph.server, access_key="AKIDLIMITED", secret_key="limited")  # noqa: S106
    ceph.add_user("limited", owner.access_key, owner.secret_key)
    quota = ("--quota-scope=bucket", "--uid=limited")
    ceph.admin("quota", "set", *quota, "--max-objects=1")
    ceph.admin("quota", "enable", *quota)
    client = open_client(new_bucket(owner))
    client.put("a", b"data", {}, new=True)
    with pytest.raises(NoSpaceError, match="its quota is exhausted, or the store is full"):
        client.put("b", b"data", {}, new=True)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_wrong_is_told_with_the_difference(
    bucket: Bucket, open_client: OpenClient, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            time = datetime.now(tz) + timedelta(hours=hours)
            return cls.fromtimestamp(time.timestamp(), tz)

    def wrong() -> datetime:
        return Wrong.now(UTC).replace(tzinfo=None)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", wrong)
    monkeypatch.setattr("galileod.storage.s3.errors.datetime", Wrong)
    sentence = said(open_client(bucket))
    assert sentence.startswith("the clocks differ by ")
    assert sentence.endswith(" s: set the clock of this machine")
    assert abs(int(sentence.split()[4]) - 7200) < 120


def test_a_wrong_region_is_corrected_if_the_store_tells_the_right_one(
    any_bucket: Bucket, open_client: OpenClient
) -> None:
    client = open_client(any_bucket, region="eu-somewhere-7")
    client.check()
    client.put("a", b"data", {}, new=True)
    assert client.head("a") is not None
    assert any_bucket.contents() == {"a": b"data"}


def test_a_key_that_is_too_long_is_told_as_a_bad_name(any_client: Client) -> None:
    with pytest.raises(BadNameError):
        any_client.put("a" * 1025, b"data", {}, new=False)


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_not_there_is_told(tmp_path: Path, open_client: OpenClient) -> None:
    server = Server(f"http://127.0.0.1:{free_port()}")
    sentence = "the connection to the object storage has failed: Connection refused"
    assert said(open_client(Bucket("bucket", server, None)), may_pass=True) == sentence


@pytest.mark.usefixtures("no_pauses")
def test_a_name_that_cannot_be_resolved_is_told(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = open_client(Bucket("bucket", Server("http://s3.example.org"), None))
    sentence = "the name of the object storage cannot be resolved: Name or service not known"
    assert said(client, may_pass=True) == sentence


@pytest.mark.usefixtures("no_pauses")
def test_a_certificate_that_is_not_trusted_is_told(
    bucket: Bucket, open_client: OpenClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    with Between(bucket.server, server_tls(authority)) as secured:
        through = evolve(bucket, server=secured.server)
        assert said(open_client(through)) == (
            "the certificate of the object storage is not trusted:"
            " unable to get local issuer certificate"
        )
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        open_client(through).put("a", b"data", {}, new=True)
    assert bucket.contents() == {"a": b"data"}


@pytest.mark.usefixtures("no_pauses")
def test_tls_with_a_server_that_has_none_is_told(bucket: Bucket, open_client: OpenClient) -> None:
    url = bucket.server.url.replace("http:", "https:")
    sentence = said(open_client(bucket, endpoint=url))
    assert sentence.startswith("TLS with the object storage has failed: ")


@pytest.mark.usefixtures("no_pauses")
def test_a_proxy_without_a_server_behind_it_is_told(open_client: OpenClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return  # the end

        thread = threading.Thread(target=accept)
        thread.start()
        for scheme in ("https", "http"):
            server = Server(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
            client = open_client(Bucket("bucket", server, None))
            with pytest.raises(UnavailableError):
                client.check()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def add_stranger(ceph: Ceph) -> Server:
    """A user of Ceph who owns no bucket."""
    stranger = evolve(ceph.server, access_key="AKIDSTRANGER", secret_key="strange")  # noqa: S106
    if "stranger" not in ceph.admin("user", "list"):
        ceph.add_user("stranger", stranger.access_key, stranger.secret_key)
    return stranger
