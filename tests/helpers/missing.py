"""What tests need that is not on every machine: programs, packages, privileges."""

import os
import shutil
from typing import Final, NoReturn

import pytest

SEARCHED: Final = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
"""Debian has some programs where only root looks."""


def find(program: str) -> str | None:
    """The path of a program, or None if it is not installed."""
    return shutil.which(program, path=SEARCHED)


def leave_out(reason: str) -> NoReturn:
    """Skip the test for what is missing on this machine; in CI, where all of it is, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI this test is not left out")
    pytest.skip(reason)
