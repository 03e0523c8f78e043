"""The contract of a store, for the one in object storage: the same tests, which need an engine."""

import pytest
from storage import test_contract, test_contract_finished

pytestmark = pytest.mark.timeout(60)

for module in (test_contract, test_contract_finished):
    globals().update({name: one for name, one in vars(module).items() if name.startswith("test_")})


@pytest.fixture(params=["sink", "whole"])
def storing(request: pytest.FixtureRequest) -> str:
    return str(request.param)
