"""Wheel and source archive of galileosend."""

import os
import shutil
import subprocess
import sys
import tarfile
from datetime import datetime
from pathlib import Path

import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon, environment
from helpers.debian import REPOSITORY, Unavailable
from helpers.missing import leave_out
from helpers.packages import PRIVATE, SECONDS, WHEN, Wheels, build_wheels, clone, install, run

from galileod import __version__

pytestmark = pytest.mark.timeout(SECONDS)  # at first the dependencies are downloaded


def test_two_clones_of_a_commit_give_the_same_bytes(
    source: Path, wheels: Wheels, tmp_path: Path
) -> None:
    other = clone(tmp_path / "elsewhere")
    # What git does not keep: other files, times, and permissions.
    (other / "galileod/untracked.py").write_text("")
    (other / "galileod/client/untracked.py").write_text("")
    os.utime(other / "galileod/units.py", (0, 0))
    (other / "galileod/units.py").chmod(0o600)
    again = build_wheels(other, PRIVATE)
    for one, two in ((wheels.daemon, again.daemon), (wheels.sdist, again.sdist),
                     (wheels.send, again.send)):  # fmt: skip
        assert one.name == two.name
        assert one.read_bytes() == two.read_bytes(), one.name


def test_the_source_archive_has_what_git_tracks(source: Path, wheels: Wheels) -> None:
    tracked = set(run("git", "ls-files", cwd=source).splitlines())
    with tarfile.open(wheels.sdist) as archive:
        top, files = f"galileosend-{__version__}/", archive.getmembers()
        assert all(member.isfile() and member.name.startswith(top) for member in files)
        packed = {member.name.removeprefix(top) for member in files}
        contents = b"".join(archive.extractfile(member).read() for member in files)  # type: ignore[union-attr]
    assert packed == {*tracked, "PKG-INFO"}
    assert str(source).encode() not in contents


def test_the_wheel_is_complete_without_the_directory_it_was_built_in(
    wheels: Wheels, tmp_path: Path
) -> None:
    try:
        programs = install(tmp_path / "environment", wheels.daemon)
    except Unavailable as reason:
        leave_out(f"needs the wheels of the dependencies: {reason}")
    said = run(programs / "galileod", "--version", cwd=tmp_path)
    assert __version__ in said
    file = tmp_path / "a.bin"
    file.write_bytes(some_bytes(300_000))
    variables = {"PYTHONPATH": ""}
    with Daemon(tmp_path / "host", program=(programs / "galileod",), environ=variables) as daemon:
        daemon.start()
        run(programs / "galileo-send", daemon.url, file)
        assert (daemon.directory / "a.bin").read_bytes() == file.read_bytes()
    assert (tmp_path / "environment/share/man/man1/galileo-send.1").is_file()


@pytest.mark.parametrize("script", ["wheels", "npm-package", "deb", "image"])
def test_a_python_that_is_too_old_is_named(script: str, source: Path) -> None:
    # It ends with status 1, as one that finds its version too low.
    ended = subprocess.run(
        [source / "packaging" / script], env=environment({"PYTHON": "false"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == f"packaging/{script}: false is not Python 3.11 or newer: set PYTHON\n"


def test_the_source_archive_gives_the_same_wheel(wheels: Wheels, tmp_path: Path) -> None:
    with tarfile.open(wheels.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    when = str(int(datetime.fromisoformat(WHEN).timestamp()))
    run(
        sys.executable, "-m", "hatchling", "build", "--target", "wheel",
        cwd=folder, environ={"SOURCE_DATE_EPOCH": when},
    )  # fmt: skip
    assert (folder / "dist" / wheels.daemon.name).read_bytes() == wheels.daemon.read_bytes()


def test_make_builds_in_a_directory_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    script = folder / "packaging/probe"
    script.parent.mkdir(parents=True)
    script.write_text('#!/bin/sh\necho "$PYTHON"\n')
    script.chmod(0o755)
    shutil.copyfile(REPOSITORY / "Makefile", folder / "Makefile")
    # -o: the environment need not be made.
    said = run("make", "--silent", "-o", "install", "packages", "PACKAGES=probe", cwd=folder)
    assert said == f"{folder}/.venv/bin/python\n"


def test_an_unpacked_archive_is_no_clone(wheels: Wheels, tmp_path: Path) -> None:
    with tarfile.open(wheels.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    ended = subprocess.run(
        [folder / "packaging/wheels"], env=environment({"PYTHON": sys.executable}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "no clone of the git repository" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
