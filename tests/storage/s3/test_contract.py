"""The contract of a store, for the one in object storage: the same tests, which need an engine."""

import pytest
from storage import test_contract, test_contract_finished

pytestmark = pytest.mark.timeout(60)

for module in (test_contract, test_contract_finished):
    globals().update({name: one for name, one in vars(module).items() if name.startswith("test_")})


@pytest.fixture(params=["sink on ceph", "whole on ceph", "sink on weed", "sink on swift"])
def where(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split(" on ")


@pytest.fixture
def storing(where: list[str]) -> str:
    return where[0]


@pytest.fixture
def engine(where: list[str]) -> str:
    return where[1]
