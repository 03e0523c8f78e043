"""Requests that were carried out, and of which the answer never came."""

from collections.abc import Iterator

import pytest
from attrs import evolve
from helpers.engines.between import Between
from helpers.engines.buckets import Bucket
from storage.s3.conftest import OpenClient

from galileod.storage.s3.client import Client
from galileod.storage.s3.errors import KeyTakenError, UncertainError
from galileod.storage.s3.session import ATTEMPTS

MINE = {"galileod-upload": "1"}


@pytest.fixture
def between(bucket: Bucket) -> Iterator[Between]:
    with Between(bucket.server) as proxy:
        yield proxy


@pytest.fixture
def client(bucket: Bucket, between: Between, open_client: OpenClient) -> Client:
    return open_client(evolve(bucket, server=between.server))


def test_a_complete_without_an_answer_is_uncertain_and_the_object_tells(
    bucket: Bucket, between: Between, client: Client
) -> None:
    upload = client.create("a", MINE)
    etag = client.upload_part("a", upload, 1, b"data")
    between.lose(b"POST ")
    with pytest.raises(UncertainError, match=r"without an answer \(CompleteMultipart"):
        client.complete("a", upload, [(1, etag)])
    assert between.lost == 1
    head = client.head("a")
    assert head is not None
    assert (head.size, head.metadata) == (4, MINE)
    assert bucket.contents() == {"a": b"data"}


def test_an_object_whose_first_answer_was_lost_is_known_as_ours(
    bucket: Bucket, between: Between, client: Client
) -> None:
    between.lose(b"PUT ")
    etag = client.put("a", b"data", MINE, new=True)
    assert between.lost == 1
    head = client.head("a")
    assert head is not None
    assert head.etag == etag
    assert bucket.contents() == {"a": b"data"}


def test_an_object_of_another_is_not_taken_for_ours(
    bucket: Bucket, between: Between, client: Client
) -> None:
    client.put("a", b"more", {"galileod-upload": "2"}, new=True)
    between.lose(b"PUT ")
    with pytest.raises(KeyTakenError):
        client.put("a", b"data", MINE, new=True)
    assert bucket.contents() == {"a": b"more"}


@pytest.mark.usefixtures("no_pauses")
def test_an_object_without_any_answer_is_uncertain(
    bucket: Bucket, between: Between, client: Client
) -> None:
    between.lose(b"PUT ", times=ATTEMPTS)
    with pytest.raises(UncertainError, match="PutObject"):
        client.put("a", b"data", MINE, new=False)
    assert bucket.contents() == {"a": b"data"}


@pytest.mark.usefixtures("no_pauses")
def test_a_part_without_an_answer_is_sent_again(
    bucket: Bucket, between: Between, client: Client
) -> None:
    upload = client.create("a", MINE)
    between.lose(b"PUT ", times=ATTEMPTS - 1)
    client.complete("a", upload, [(1, client.upload_part("a", upload, 1, b"data"))])
    assert bucket.contents() == {"a": b"data"}
