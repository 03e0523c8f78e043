"""Engines that the whole run shares, and buckets for single tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.daemon import Daemons
from helpers.engines.buckets import Bucket, new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.engine import Server
from helpers.engines.kinds import KINDS
from helpers.engines.shared import attach
from helpers.engines.troubles import Troubles
from helpers.s3_aftermath import AT_ONCE, Troubled, troubled
from helpers.s3_daemon import Start, starting
from helpers.s3_store import make_kind
from helpers.store_kinds import FURTHER, MakeStore, open_whole

from galileod.policy.publication import OnConflict
from galileod.storage.base import Store
from galileod.storage.s3 import patience
from galileod.storage.s3.client import Client
from galileod.storage.s3.shared import CONNECTIONS
from galileod.storage.settings import S3

OpenClient = Callable[..., Client]


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Ceph:
    """The run's Ceph."""
    return attach(Ceph, tmp_path_factory)


@pytest.fixture(scope="session")
def breakable() -> Iterator[Ceph]:
    """A Ceph of this process alone: tests stop, kill and start parts of it."""
    Ceph.require()
    with Ceph() as ceph:
        yield ceph


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


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication waits for half a second until the store answers."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.1)


# The contract of a store: tests share a bucket and a client, and each has a prefix.


Shared = Callable[[str], tuple[Bucket, Client]]
"""Gives the bucket of an engine that tests share, and a client of it."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    buckets = dict[str, tuple[Bucket, Client]]()

    def of(engine: str) -> tuple[Bucket, Client]:
        if engine not in buckets:
            bucket = new_bucket(attach(KINDS[engine], tmp_path_factory).server)
            settings: Any = bucket.settings(tmp_path_factory.mktemp("credentials"))
            buckets[engine] = bucket, Client.open(S3(**settings), requests=CONNECTIONS)
        return buckets[engine]

    yield of
    for _, client in buckets.values():
        client.close()


@pytest.fixture
def engine() -> str:
    """The engine of the contract's tests."""
    return Ceph.name


@pytest.fixture
def storing() -> str:
    """How files are stored: by a sink, or in one step, as "whole"."""
    return "sink"


@pytest.fixture
def make_store(shared: Shared, engine: str, tmp_path: Path, storing: str) -> Iterator[MakeStore]:
    kind = make_kind(*shared(engine))
    FURTHER.append(kind)
    with ExitStack() as stores:
        stores.callback(FURTHER.remove, kind)

        def make(on_conflict: OnConflict) -> Store:
            open_ = kind.open if storing == "sink" else partial(open_whole, kind)
            store = open_(tmp_path / "files", on_conflict)
            stores.callback(store.close)
            return store

        yield make


# The daemon.


@pytest.fixture
def start(daemon: Daemons, bucket: Bucket, tmp_path: Path) -> Start:
    """Starts a daemon for the bucket."""
    return starting(daemon, bucket, tmp_path)


@pytest.fixture
def troubles(bucket: Bucket) -> Iterator[Troubles]:
    """What can go wrong between a daemon and the bucket."""
    with Troubles(bucket.server) as proxy:
        yield proxy


@pytest.fixture
def hasty(bucket: Bucket, troubles: Troubles, tmp_path: Path) -> Iterator[Troubled]:
    """A daemon behind `troubles` that repeats requests at once."""
    s3 = {"endpoint": troubles.server.url}
    timeouts = {"close": 1, "ping": 0.1}
    with troubled(bucket, tmp_path, before=AT_ONCE, s3=s3, timeouts=timeouts) as host:
        yield host.start()
