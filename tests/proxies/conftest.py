"""A real proxy before a real galileod, for as long as a test runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.certificates import Certificate, make_certificate
from helpers.daemon import Daemon
from proxies.fronts import FRONTS, Front, require

OpenFront = Callable[..., Front]

TRUSTED = {"server": {"trusted_proxies": ["127.0.0.1"]}}
"""What the comments of both files ask for."""


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.program)
def kind(request: pytest.FixtureRequest) -> type[Front]:
    """nginx, and then Caddy."""
    chosen: type[Front] = request.param
    require(chosen)
    return chosen


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def front(tmp_path: Path, kind: type[Front], certificate: Certificate) -> Iterator[OpenFront]:
    """Call it with where galileod is for a proxy before it."""
    with ExitStack() as stack:

        def start(upstream: Daemon | str) -> Front:
            if isinstance(upstream, Daemon):
                upstream = "{}:{}".format(*upstream.address)
            return stack.enter_context(kind(tmp_path / kind.program, certificate, upstream))

        yield start
