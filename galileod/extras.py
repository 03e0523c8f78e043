"""The extras of the distribution: how to install what they need."""

import shlex
import sys
from typing import Final

PACKAGED: Final = "/usr/lib/galileod"
"""The environment of the Debian package, which has no pip, and a package for each extra."""


def missing(extra: str, requirement: str) -> str:
    """What is said where an extra is not installed; `requirement` is that of pyproject.toml."""
    if sys.prefix == PACKAGED:
        return f"needs the Debian package galileod-{extra}, in the version of galileod"
    library = requirement.partition(">")[0].partition("[")[0]
    install = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(requirement)}"
    return f"needs the Python package {library}: {install}"
