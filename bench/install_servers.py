"""Installs fixed versions of the other servers into `.bench`, unless they are installed already.

Each public function returns the path that is needed to start its server, and raises
UnavailableError if the server cannot be installed.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".bench"
SECONDS = 300
"""Time limit in seconds for one step of an installation."""

COPYPARTY = ("copyparty==1.20.26",)
TUS = ("@tus/server@2.4.5", "@tus/file-store@2.1.1")
TUS_S3 = Path(__file__).with_name("tus_s3")
"""The packages of the tus server that stores into a bucket, and its script."""
BOTO3 = ("boto3==1.44.8", "s3transfer==0.19.3")
"""For the botocore in constraints.txt."""
NGINX = ("nginx",)
"""Without a version, since a release of Debian has only one."""


class UnavailableError(Exception):
    """A server cannot be installed here; the message says why."""


def copyparty(*, install: bool) -> Path:
    """The directory to import copyparty from."""
    folder = HOME / "copyparty"
    if not _is_installed(folder, COPYPARTY, install=install):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--target", folder, *COPYPARTY])
        _note(folder, COPYPARTY)
    return folder


def tus(*, install: bool) -> Path:
    """The script of the tus server, in the directory of the packages that it imports."""
    if not shutil.which("node"):
        raise UnavailableError("node is not installed")
    folder = HOME / "tus"
    if not _is_installed(folder, TUS, install=install):
        _run(["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, *TUS])
        _note(folder, TUS)
    return Path(shutil.copy(Path(__file__).with_name("tus_server.mjs"), folder))


def tus_s3(*, install: bool) -> Path:
    """The script of the tus server with a bucket, in the directory of what it imports."""
    if not shutil.which("node"):
        raise UnavailableError("node is not installed")
    folder = HOME / "tus-s3"
    packages = tus_s3_packages()
    if not _is_installed(folder, packages, install=install):
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(TUS_S3 / name, folder)
        _run(["npm", "ci", "--silent", "--ignore-scripts"], folder)
        _note(folder, packages)
    return Path(shutil.copy(TUS_S3 / "server.mjs", folder))


def tus_s3_packages() -> Sequence[str]:
    """What `tus_s3` installs, without what that needs in turn."""
    wanted = json.loads((TUS_S3 / "package.json").read_text())["dependencies"]
    return [f"{name}@{version}" for name, version in wanted.items()]


def boto3(*, install: bool) -> Path:
    """The directory to import boto3 from, which uses the botocore of this Python."""
    folder = HOME / "boto3"
    if not _is_installed(folder, BOTO3, install=install):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--target", folder, *BOTO3])
        _note(folder, BOTO3)
    return folder


def nginx(*, install: bool) -> Path:
    """The program nginx of the system, else that in Debian's package."""
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
    """Whether `folder` has exactly these packages. If not, it is emptied.

    Without `install`, raises UnavailableError instead.
    """
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
