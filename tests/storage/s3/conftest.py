"""Engines that the whole run shares, and buckets for single tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.engines.buckets import Bucket, new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from helpers.engines.kinds import KINDS
from helpers.engines.shared import attach

from galileod.storage.s3.client import Client
from galileod.storage.settings import S3

OpenClient = Callable[..., Client]


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Ceph:
    """The run's Ceph."""
    return attach(Ceph, tmp_path_factory)


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Each engine in turn."""
    return attach(KINDS[request.param], tmp_path_factory).server


@pytest.fixture
def bucket(ceph: Ceph) -> Bucket:
    """A new bucket of Ceph."""
    return new_bucket(ceph.server)


@pytest.fixture
def any_bucket(server: Server) -> Bucket:
    """A new bucket of each engine in turn."""
    return new_bucket(server)


@pytest.fixture
def open_client(tmp_path: Path) -> Iterator[OpenClient]:
    """Call it with a bucket, and with settings that differ, for a client."""
    with ExitStack() as stack:

        def start(bucket: Bucket, **more: Any) -> Client:  # noqa: ANN401  values of S3
            settings: Any = bucket.settings(tmp_path, **more)
            client = Client.open(S3(**settings), requests=4)
            stack.callback(client.close)
            return client

        yield start


@pytest.fixture
def client(bucket: Bucket, open_client: OpenClient) -> Client:
    """A client of a new bucket of Ceph."""
    return open_client(bucket)


@pytest.fixture
def any_client(any_bucket: Bucket, open_client: OpenClient) -> Client:
    """A client of a new bucket of each engine in turn."""
    return open_client(any_bucket)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated at once."""
    at_once = SimpleNamespace(sleep=lambda _seconds: None)
    monkeypatch.setattr("botocore.endpoint.time", at_once)
    monkeypatch.setattr("galileod.storage.s3.client.time", at_once)
