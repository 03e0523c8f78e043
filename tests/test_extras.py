"""How what an extra needs is installed, with pip and with the Debian packages."""

import sys

import pytest

from galileod.extras import PACKAGED, missing


def test_pip_installs_into_the_environment_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my uploads/bin/python3")
    assert missing("some", "library[fast]>=3.3,<3.4") == (
        "needs the Python package library: '/opt/my uploads/bin/python3' -m pip install"
        " 'library[fast]>=3.3,<3.4'"
    )


def test_the_environment_of_the_package_is_extended_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "prefix", PACKAGED)
    said = missing("some", "library>=3")
    assert said == "needs the Debian package galileod-some, in the version of galileod"
