"""Locales whose encoding is not UTF-8."""

import subprocess
from pathlib import Path
from typing import Final

from helpers.missing import find, leave_out

DEFINITIONS: Final = Path("/usr/share/i18n/charmaps")
"""Definitions from which localedef generates locales."""


def make_locale(folder: Path, language: str, encoding: str) -> dict[str, str]:
    """Generate a locale in `folder`; returns the variables with which a program uses it."""
    if find("localedef") is None or not DEFINITIONS.exists():
        leave_out("needs definitions of locales: install Debian's package locales")
    name = f"{language}.{encoding}"
    subprocess.run(
        ["localedef", "-i", language, "-f", encoding, folder / name], check=True, timeout=60
    )
    return {"LOCPATH": str(folder), "LC_ALL": name}
