"""The distribution galileo-send: command and library without the daemon."""

import ast
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon
from helpers.debian import REPOSITORY, Unavailable
from helpers.missing import leave_out
from helpers.packages import SECONDS, Wheels, install, run

from galileod import __version__

pytestmark = pytest.mark.timeout(SECONDS)  # at first the dependencies are downloaded

DEPENDENCIES: Final = set(
    tomllib.loads((REPOSITORY / "packaging/send/pyproject.toml").read_text())["project"][
        "dependencies"
    ]
)
OF_GALILEOSEND: Final = set(
    tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
)

LISTED: Final = """
from importlib.metadata import distributions
print(*sorted(each.name.lower().replace("_", "-") for each in distributions()))
"""

SENDING: Final = """
import sys
from galileod.client import send_file, send_file_sync
print(send_file_sync(sys.argv[1], b"by the library", name="library.txt").stored_name)
"""


def module_file(name: str) -> Path | None:
    """Where a module of galileod is, or None if that is no module."""
    path = REPOSITORY / name.replace(".", "/")
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def imported(file: Path) -> Iterator[str]:
    """Modules, and names that may be modules, that a file imports anywhere in it."""
    package = ".".join(file.relative_to(REPOSITORY).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)


def closure() -> tuple[set[Path], set[str]]:
    """The files that the command and the library need, and the other packages that these import."""
    client = sorted((REPOSITORY / "galileod/client").rglob("*.py"))
    open_ = [REPOSITORY / "galileod/cli/send.py", *client]
    files: set[Path] = set()
    others: set[str] = set()
    while open_:
        file = open_.pop()
        if file in files:
            continue
        files.add(file)
        open_ += [
            folder / "__init__.py"
            for folder in file.parents
            if folder.is_relative_to(REPOSITORY / "galileod")
        ]
        for name in imported(file):
            if name.split(".")[0] != "galileod":
                others.add(name.split(".")[0])
            elif found := module_file(name):
                open_.append(found)
    return files, others - set(sys.stdlib_module_names) - {"_typeshed"}


def name_of(requirement: str) -> str:
    return requirement.split(">", maxsplit=1)[0].split("[", maxsplit=1)[0]


def test_the_wheel_has_the_modules_that_command_and_library_import(wheels: Wheels) -> None:
    with zipfile.ZipFile(wheels.send) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("galileod/")}
    files, _ = closure()
    assert packed == {str(file.relative_to(REPOSITORY)) for file in files} | {"galileod/py.typed"}


def test_it_depends_on_what_these_import_in_the_ranges_of_galileosend() -> None:
    _, packages = closure()
    distributions = packages_distributions()
    assert {name_of(each) for each in DEPENDENCIES} == {distributions[each][0] for each in packages}
    assert DEPENDENCIES <= OF_GALILEOSEND


def test_both_distributions_have_the_same_files(wheels: Wheels) -> None:
    # Else the one that was installed last would change the other.
    with zipfile.ZipFile(wheels.send) as send, zipfile.ZipFile(wheels.daemon) as daemon:
        shared = [name for name in send.namelist() if name.startswith("galileod/")]
        assert shared
        assert {name: send.read(name) for name in shared} == {
            name: daemon.read(name) for name in shared
        }


def test_it_sends_from_an_environment_without_the_daemon(wheels: Wheels, tmp_path: Path) -> None:
    try:
        programs = install(tmp_path / "environment", wheels.send)
    except Unavailable as reason:
        leave_out(f"needs the wheels of the dependencies: {reason}")
    file = tmp_path / "a.bin"
    file.write_bytes(some_bytes(2_000_000))
    with Daemon(tmp_path / "host") as daemon:
        daemon.start()
        run(programs / "galileo-send", daemon.url, file)
        said = run(programs / "python", "-c", SENDING, daemon.url, cwd=tmp_path)
        assert said == "library.txt\n"
        assert (daemon.directory / "a.bin").read_bytes() == file.read_bytes()
        assert (daemon.directory / "library.txt").read_bytes() == b"by the library"
    assert __version__ in run(programs / "galileo-send", "--version")
    installed = set(run(programs / "python", "-c", LISTED, cwd=tmp_path).split())
    assert "galileo-send" in installed
    unused = {name_of(each) for each in OF_GALILEOSEND - DEPENDENCIES}
    assert {"trio-websocket", "structlog", "prometheus-client", "cryptography"} < unused
    assert not installed & unused
    assert not (programs / "galileod").exists()
    assert (tmp_path / "environment/share/man/man1/galileo-send.1").is_file()
