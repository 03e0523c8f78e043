"""constraints.txt and constraints-lowest.txt against the version ranges in pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parents[2]

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

DIRECT: Final = [
    Requirement(text)
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"])
]


def pins(name: str) -> dict[str, Version]:
    """Each package of a file of constraints, and its version."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines if line[:1] != "#"]
    return {canonicalize_name(line[1]): Version(line[2]) for line in found if line}


@pytest.mark.parametrize("direct", DIRECT, ids=lambda direct: direct.name)
def test_the_lowest_constraint_is_the_lower_bound(direct: Requirement) -> None:
    (bound,) = [Version(part.version) for part in direct.specifier if part.operator == ">="]
    assert pins("constraints-lowest.txt")[canonicalize_name(direct.name)] == bound


@pytest.mark.parametrize("direct", DIRECT, ids=lambda direct: direct.name)
def test_the_usual_constraint_is_in_the_range(direct: Requirement) -> None:
    assert pins("constraints.txt")[canonicalize_name(direct.name)] in direct.specifier


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_each_line_of_a_file_pins_a_package_of_its_own(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if line[:1] != "#"]
    assert len(pins(name)) == len(lines)
