"""The contract of a store for uploads that are interrupted, for the one in object storage."""

import pytest
from helpers.engines.kinds import KINDS
from storage import test_contract_suspending

pytestmark = pytest.mark.timeout(60)

globals().update(
    {name: one for name, one in vars(test_contract_suspending).items() if name.startswith("test_")}
)


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)
