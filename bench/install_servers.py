"""Installing the other servers into `.bench`, each in one fixed version, where they are missing.

Each function returns what is needed to start its server, and raises UnavailableError with a reason.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".bench"
SECONDS = 300
"""How long one step of an installation may take."""

COPYPARTY = ("copyparty==1.20.26",)
TUS = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")
NGINX = ("nginx",)
"""Debian keeps one version in a release, so the version is not given."""


class UnavailableError(Exception):
    """A server cannot be installed here; the text says why."""


def copyparty(*, install: bool) -> Path:
    """The folder to import copyparty from."""
    folder = HOME / "copyparty"
    if not _is_installed(folder, COPYPARTY, install=install):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--target", folder, *COPYPARTY])
        _note(folder, COPYPARTY)
    return folder


def tus(*, install: bool) -> Path:
    """The program of the tus server, beside the packages that it imports."""
    if not shutil.which("node"):
        raise UnavailableError("node is not installed")
    folder = HOME / "tus"
    if not _is_installed(folder, TUS, install=install):
        _run(["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, *TUS])
        _note(folder, TUS)
    return Path(shutil.copy(Path(__file__).with_name("tus_server.mjs"), folder))


def nginx(*, install: bool) -> Path:
    """The program nginx: the system's own, or else out of its Debian package."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found:
        return Path(found)
    folder = HOME / "nginx"
    if not _is_installed(folder, NGINX, install=install):
        _run(["apt-get", "download", *NGINX], folder)
        for package in folder.glob("nginx_*.deb"):
            _run(["dpkg-deb", "-x", package, folder])
        _note(folder, NGINX)
    program = folder / "usr" / "sbin" / "nginx"
    _run([program, "-v"])
    return program


def _is_installed(folder: Path, packages: Sequence[str], *, install: bool) -> bool:
    """Whether exactly these packages are in the folder; if not, it is emptied."""
    note = folder / "installed"
    if note.is_file() and note.read_text().split() == list(packages):
        return True
    if not install:
        raise UnavailableError("not installed")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return False


def _note(folder: Path, packages: Sequence[str]) -> None:
    (folder / "installed").write_text("\n".join(packages))


def _run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=True,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from None
    except subprocess.CalledProcessError as error:
        said = (error.output or "").strip().splitlines()[-1:]
        raise UnavailableError(f"{command[0]} failed: {' '.join(said)}") from None
    return done.stdout
