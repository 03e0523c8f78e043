"""Locales whose encoding is not UTF-8."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SOURCES: Final = Path("/usr/share/i18n/charmaps")
"""Definitions from which localedef generates locales."""


def make_locale(folder: Path, language: str, encoding: str) -> dict[str, str]:
    """Generate a locale in `folder`; returns the variables with which a program uses it."""
    if shutil.which("localedef") is None or not SOURCES.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("localedef or its sources are missing (package locales)")
        pytest.skip("localedef or its sources are missing (package locales)")
    name = f"{language}.{encoding}"
    subprocess.run(
        ["localedef", "-i", language, "-f", encoding, folder / name], check=True, timeout=60
    )
    return {"LOCPATH": str(folder), "LC_ALL": name}
