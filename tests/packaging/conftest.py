"""The packages, built once."""

from pathlib import Path

import pytest
from helpers.packages import Wheels, build_wheels, clone


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def wheels(source: Path) -> Wheels:
    return build_wheels(source)
