"""What the client does with the objects of each engine."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from helpers.engines.buckets import Bucket

from galileod.storage.errors import MissingError, StorageError
from galileod.storage.s3.client import Client
from galileod.storage.s3.errors import KeyTakenError, NoSuchUploadError, UncertainError

PART = os.urandom(5 << 20)
KEY = "a folder/naïve +%&=?#日本.txt"


def test_an_object_is_stored_and_read(any_bucket: Bucket, any_client: Client) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    etag = any_client.put(KEY, b"data", {"galileod-upload": "1", "galileod-name": "ü\n"}, new=True)
    assert any_bucket.contents() == {KEY: b"data"}
    head = any_client.head(KEY)
    assert head is not None
    assert (head.size, head.etag) == (4, etag)
    assert head.metadata == {"galileod-upload": "1", "galileod-name": "ü\n"}
    assert head.modified_ns >= before.timestamp() * 1e9
    assert any_client.get(KEY) == b"data"


@pytest.mark.parametrize(
    "data",
    [b"", bytearray(b"123"), memoryview(b"12345")[1:4], PART[:300_000]],
    ids=["empty", "bytearray", "memoryview", "bytes"],
)
def test_a_body_may_be_of_any_kind(
    any_client: Client, data: bytes | bytearray | memoryview
) -> None:
    any_client.put("a", data, {}, new=False)
    assert any_client.get("a") == bytes(data)


def test_a_new_object_replaces_none(any_bucket: Bucket, any_client: Client) -> None:
    any_client.put("a", b"first", {"galileod-upload": "1"}, new=True)
    with pytest.raises(KeyTakenError):
        any_client.put("a", b"other", {"galileod-upload": "2"}, new=True)
    assert any_bucket.contents() == {"a": b"first"}


def test_an_object_replaces_another_if_it_is_to(any_bucket: Bucket, any_client: Client) -> None:
    any_client.put("a", b"first", {}, new=True)
    any_client.put("a", b"second", {}, new=False)
    assert any_bucket.contents() == {"a": b"second"}


def test_an_object_of_parts_is_made(any_bucket: Bucket, any_client: Client) -> None:
    upload = any_client.create(KEY, {"galileod-upload": "1", "galileod-name": "日"})
    second = any_client.upload_part(KEY, upload, 2, bytearray(b"end"))
    first = any_client.upload_part(KEY, upload, 1, PART)
    assert any_client.head(KEY) is None
    any_client.complete(KEY, upload, [(1, first), (2, second)])
    assert any_bucket.contents() == {KEY: PART + b"end"}
    head = any_client.head(KEY)
    assert head is not None
    assert head.size == len(PART) + 3
    assert head.metadata == {"galileod-upload": "1", "galileod-name": "日"}
    assert any_bucket.unfinished() == 0


def test_a_part_that_is_sent_again_replaces_the_first(
    any_bucket: Bucket, any_client: Client
) -> None:
    upload = any_client.create("a", {})
    any_client.upload_part("a", upload, 1, b"first")
    any_client.complete("a", upload, [(1, any_client.upload_part("a", upload, 1, b"second"))])
    assert any_bucket.contents() == {"a": b"second"}


def test_an_aborted_upload_is_gone(any_bucket: Bucket, any_client: Client) -> None:
    upload = any_client.create("a", {})
    etag = any_client.upload_part("a", upload, 1, b"data")
    any_client.abort("a", upload)
    any_client.abort("a", upload)
    with pytest.raises((NoSuchUploadError, UncertainError)):  # Ceph answers with status 500
        any_client.complete("a", upload, [(1, etag)])
    assert any_bucket.unfinished() == 0
    assert any_client.head("a") is None


def test_a_removed_object_is_gone(any_client: Client) -> None:
    any_client.put("a", b"data", {}, new=True)
    any_client.delete("a")
    any_client.delete("a")
    assert any_client.head("a") is None
    with pytest.raises(MissingError):
        any_client.get("a")


def test_a_listing_is_read_in_pages(any_client: Client) -> None:
    keys = ["a/1", "a/2", "a/3", "a/ü", "b"]
    for key in keys:
        any_client.put(key, key.encode(), {}, new=True)
    assert any_client.list("a/", "", 3) == [("a/1", 3), ("a/2", 3), ("a/3", 3)]
    assert any_client.list("a/", "a/3", 3) == [("a/ü", 4)]
    assert any_client.list("a/", "a/ü", 3) == []
    assert [key for key, _ in any_client.list("", "", 1000)] == keys


def test_unfinished_uploads_are_found(any_client: Client) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    begun = {(key, any_client.create(key, {})) for key in ("a/1", "a/1", "a/2", "b/1")}
    found = list(any_client.unfinished("a/"))
    assert {(key, upload) for key, upload, _ in found} == {one for one in begun if one[0] != "b/1"}
    after = datetime.now(UTC) + timedelta(seconds=2)  # the engines round to seconds
    assert all(before <= begun <= after for _, _, begun in found)


def test_unfinished_uploads_are_read_in_pages(
    any_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.storage.s3.client.MAX_KEYS", 2)
    begun = {(f"a/{n}", any_client.create(f"a/{n}", {})) for n in (1, 1, 1, 2, 3)}
    found = [(key, upload) for key, upload, _ in any_client.unfinished("a/")]
    assert len(found) == len(begun)
    assert set(found) == begun


def test_a_listing_that_does_not_go_on_is_an_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages would never end."""
    client.put("a", b"", {}, new=True)
    client.put("b", b"", {}, new=True)
    assert client.list("", "a", 2) == [("b", 0)]
    send = client._do

    def without_start(method: str, **values: object) -> object:
        values.pop("StartAfter", None)
        return send(method, **values)

    monkeypatch.setattr(client, "_do", without_start)
    with pytest.raises(StorageError, match="from a key on"):
        client.list("", "a", 2)
