"""A real proxy before a real galileod, for as long as a test runs."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from helpers.daemon import Daemon
from proxies.fronts import FRONTS, Certificate, Front

OpenFront = Callable[..., Front]

TRUSTED = {"server": {"trusted_proxies": ["127.0.0.1"]}}
"""What the comments of both files ask for, but for the origin, whose port is not known yet."""


@pytest.fixture(params=FRONTS, ids=lambda kind: kind.program)
def kind(request: pytest.FixtureRequest) -> type[Front]:
    """nginx, and then Caddy."""
    chosen: type[Front] = request.param
    if chosen.found() is None:
        missing = f"needs {chosen.program}: install Debian's package {chosen.package}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}; in CI these tests are not left out")
        pytest.skip(missing)
    return chosen


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    issued.private_key_pem.write_to_path(made.key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(made.chain, append=True)
    authority.cert_pem.write_to_path(made.authority)
    return made


@pytest.fixture
def front(tmp_path: Path, kind: type[Front], certificate: Certificate) -> Iterator[OpenFront]:
    """Call it with where galileod is for a proxy before it."""
    with ExitStack() as stack:

        def start(upstream: Daemon | str) -> Front:
            if isinstance(upstream, Daemon):
                upstream = "{}:{}".format(*upstream.address)
            return stack.enter_context(kind(tmp_path / kind.program, certificate, upstream))

        yield start
