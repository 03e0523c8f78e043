"""Packages of this source, built as `make packages` builds them, and where to install them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from helpers import debian
from helpers.daemon import environment

SECONDS: Final = 600
"""For a build, or an installation."""

WHEN: Final = "2026-01-02T03:04:05+00:00"
"""The time of the commit in each clone."""

AUTHOR: Final = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")

PRIVATE: Final = 0o077
"""An umask that lets nobody else read, which must not change what is built."""

ALONE: Final = {"PYTHONPATH": "", "GIT_CONFIG_GLOBAL": os.devnull}
"""Variables without which a program uses what is installed with it, and git its defaults."""


def copy_source(folder: Path) -> None:
    """Copy the source as it is here now: what git tracks, or would."""
    listed = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
        cwd=debian.REPOSITORY,
    )  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (debian.REPOSITORY / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(debian.REPOSITORY / name, target)
            shutil.copymode(debian.REPOSITORY / name, target)


def clone(folder: Path) -> Path:
    """A clone of a repository whose only commit has the source as it is here now."""
    copy_source(folder)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    dates = {"GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN}
    run("git", *AUTHOR, "commit", "--quiet", "--message", "All", cwd=folder, environ=dates)
    return folder


@frozen
class Wheels:
    """What packaging/wheels builds."""

    daemon: Path
    sdist: Path
    send: Path


def build_wheels(source: Path, umask: int = -1) -> Wheels:
    """Build from a clone."""
    built = build(source, "wheels", umask)
    daemon, sdist, send = (
        next(path for path in built if path.match(pattern))
        for pattern in ("galileosend-*.whl", "galileosend-*.tar.gz", "galileo_send-*.whl")
    )
    assert len(built) == len({daemon, sdist, send})
    return Wheels(daemon, sdist, send)


def build(source: Path, script: str, umask: int = -1) -> list[Path]:
    """The packages that a script in packaging/ says that it has built, from a clone."""
    variables = {"PYTHON": sys.executable}
    said = run(source / "packaging" / script, cwd=source, environ=variables, umask=umask)
    return [source / line for line in said.splitlines()]


def fetch_and_build(
    command: Sequence[str | Path], variables: dict[str, str], umask: int = -1
) -> str:
    """Run a script of packaging/ that needs a mirror of Debian; returns what it says.

    Raises debian.Unavailable.
    """
    ended = subprocess.run(
        command, env=environment({**ALONE, "PYTHON": sys.executable, **variables}), umask=umask,
        capture_output=True, text=True, timeout=debian.BUILD_SECONDS, check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise debian.Unavailable(f"{command[0]}: {' / '.join(ended.stderr.splitlines()[-5:])}")
    return ended.stdout


def install(folder: Path, wheel: Path) -> Path:
    """A new environment with the wheel and what it depends on, offline; returns its programs.

    Raises debian.Unavailable if the dependencies cannot be fetched.
    """
    dependencies = debian.dependencies(f"{sys.version_info.major}.{sys.version_info.minor}")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    run(
        sys.executable, "-m", "pip", "--python", folder / "bin/python",
        "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-compile",
        "--find-links", dependencies, wheel,
    )  # fmt: skip
    return folder / "bin"


def arrived(directory: Path) -> int:
    """Bytes of all unfinished uploads in the storage directory of a daemon, seen from outside.

    A command inside would take seconds on a busy machine, while the upload goes on.
    """
    return sum(file.stat().st_size for file in (directory / ".galileod/spool").iterdir())


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environ: dict[str, str] | None = None,
    umask: int = -1,
) -> str:
    """Run a program that is expected to succeed; returns what it writes to standard output."""
    ended = subprocess.run(
        command, cwd=cwd, env=environment({**ALONE, **(environ or {})}), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=SECONDS, check=False, umask=umask,
    )  # fmt: skip
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout
