"""A Debian and the packages of galileod, made once and kept between runs of the tests."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from helpers.daemon import environment

RELEASE: Final = "bookworm"
PYTHON: Final = "3.11"
"""What that release has."""

PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "curl")

PROGRAMS: Final = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
"""What the tests need, and Debian's package for it."""

BUILD_SECONDS: Final = 1200
"""Debian is fetched over a line of any kind, and unpacked onto a disk of any kind."""

REPOSITORY: Final = Path(__file__).parents[2]


class Unavailable(Exception):  # noqa: N818  a reason to leave the tests out
    """It cannot be made on this machine; the text says why."""


def missing_packages(programs: Mapping[str, str] = PROGRAMS) -> list[str]:
    """What apt-get would have to install."""
    return [package for program, package in programs.items() if shutil.which(program) is None]


def debian(release: str = RELEASE) -> Path:
    """The root of a Debian that nobody may change. Raises Unavailable."""
    key = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:16]
    with _made_once(_cache() / f"{release}-{key}") as target:
        if target is not None:
            packages = f"--include={','.join(PACKAGES)}"
            _run("debootstrap", "--variant=minbase", packages, release, str(target))
    return _cache() / f"{release}-{key}"


def wheels(folder: Path) -> None:
    """Put galileod's wheel, of this source, and all that it depends on into `folder`.

    Raises Unavailable.
    """
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(REPOSITORY))
    for dependency in dependencies(PYTHON).iterdir():
        os.link(dependency, folder / dependency.name)


def dependencies(python: str) -> Path:
    """A folder with the wheels of all that galileod depends on, for a version of Python.

    Raises Unavailable.
    """
    constraints = REPOSITORY / "constraints.txt"
    project = (REPOSITORY / "pyproject.toml").read_bytes()
    key = hashlib.sha256(constraints.read_bytes() + project + python.encode()).hexdigest()[:16]
    with _made_once(_cache() / f"wheels-{key}") as target:
        if target is not None:
            _pip(
                "download", "--only-binary=:all:", f"--python-version={python}",
                "-c", str(constraints), "-d", str(target),
                *tomllib.loads(project.decode())["project"]["dependencies"],
            )  # fmt: skip
    return _cache() / f"wheels-{key}"


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "galileod-tests"


@contextmanager
def _made_once(path: Path) -> Iterator[Path | None]:
    """Where to make what shall stand at `path`, or None where it does; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            yield None
            return
        unfinished = Path(tempfile.mkdtemp(dir=path.parent))
        try:
            yield unfinished
            unfinished.chmod(0o755)
            unfinished.rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # there is none if all went well


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False,
        env=environment(),
    )  # fmt: skip
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines()[-5:]
        raise Unavailable(f"{' '.join(command)}: {' / '.join(said)}")
