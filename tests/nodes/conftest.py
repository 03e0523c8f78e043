"""The engines of a cluster, which tests stop and kill."""

from collections.abc import Iterator

import pytest
from helpers.engines.ceph import Ceph


@pytest.fixture(scope="session")
def two_gateways() -> Iterator[Ceph]:
    """A Ceph of this process alone, with two gateways."""
    Ceph.require()
    with Ceph() as ceph:
        ceph.spawn_gateway("rgw2")
        yield ceph
