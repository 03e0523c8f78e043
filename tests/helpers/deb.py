"""The Debian packages of this source, and of a later version."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from helpers.debian import BUILD_SECONDS, PROGRAMS
from helpers.packages import clone, fetch_and_build

NEEDED: Final = {**PROGRAMS, "mmdebstrap": "mmdebstrap", "lintian": "lintian"}
"""What the tests need, and Debian's package for it."""

LATER: Final = "99.0"
"""The version of the package that `later_package` makes."""


def build_packages(release: str, folder: Path, umask: int = -1) -> list[Path]:
    """The packages of this source for a release, built from a clone in `folder`: galileod first.

    Raises Unavailable.
    """
    script = clone(folder) / "packaging/deb"
    said = fetch_and_build([script, release], {}, umask)
    return sorted((folder / line for line in said.splitlines()), key=name_of)


def later_package(package: Path, folder: Path) -> Path:
    """The same package as version LATER, with another configuration file if it has one."""
    tree = folder / "tree"
    dpkg_deb("--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(version_of(package), LATER))
    settings = tree / "etc/galileod.toml"
    if settings.exists():
        settings.write_text(f"{settings.read_text()}# Added in {LATER}.\n")
    later = folder / f"{name_of(package)}_{LATER}.deb"
    dpkg_deb("--root-owner-group", "-Zgzip", "-z1", "--build", tree, later)
    shutil.rmtree(tree)
    return later


def name_of(package: Path) -> str:
    return package.name.partition("_")[0]


def version_of(package: Path) -> str:
    return dpkg_deb("--field", package, "Version").strip()


def dpkg_deb(*arguments: str | Path) -> str:
    return subprocess.run(
        ["dpkg-deb", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def complaints(package: Path) -> str:
    """What lintian says of it."""
    allowed = ["--allow-root"] if os.geteuid() == 0 else []
    ended = subprocess.run(
        ["lintian", *allowed, "--tag-display-limit", "0", "--fail-on", "error,warning", package],
        capture_output=True, text=True, timeout=BUILD_SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, 2), ended.stderr
    return ended.stdout
