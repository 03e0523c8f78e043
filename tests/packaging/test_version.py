"""What names a version by hand names that of the packages."""

import re
from pathlib import Path
from typing import Final

import pytest

from galileod import __version__

ROOT: Final = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("packaging/container/compose.yaml", r"galileod:(\d[\w.]*)$"),
        ("docs/install.md", r"galileod(?:-[a-z0-9]+)?[-_:](\d+\.\d+\.\d+)"),
        ("docs/install.md", r"galileo_?send-(\d+\.\d+\.\d+)"),
    ],
)
def test_a_version_that_is_named_by_hand_is_that_of_the_packages(path: str, pattern: str) -> None:
    found = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
    assert found
    assert set(found) == {__version__}
