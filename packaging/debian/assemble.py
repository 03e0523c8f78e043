"""Assembles the Debian package, within a Debian of the release that it is for.

    python3 assemble.py VERSION ARCHITECTURE GLIBC

`packaging/deb` copies this directory, the wheels and the other sources to /galileod-package and
runs it there, as root. The package is written to that directory. SOURCE_DATE_EPOCH is the time of
all files; the same sources give the same bytes.
"""

import compileall
import email.utils
import gzip
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from string import Template
from typing import Final

SOURCES: Final = Path("/galileod-package")
TREE: Final = SOURCES / "tree"
"""What is unpacked on the machine of the administrator."""

VENV: Final = Path("/usr/lib/galileod")
"""Where the virtual environment is made here, since its files contain that path, and used there."""

PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
COMMANDS: Final = ("galileod", "galileo-send", "galileo-conformance")
MANUALS: Final = {"1": ("galileo-send", "galileo-conformance"), "8": ("galileod",)}
SHELLS: Final = {
    "bash": "usr/share/bash-completion/completions/{}",
    "zsh": "usr/share/zsh/vendor-completions/_{}",
    "fish": "usr/share/fish/vendor_completions.d/{}.fish",
}
"""Where each shell looks for the completion of a command."""

ABOUT_INSTALL_SERVICE: Final = re.compile(r"\A# Written by .*?\n#?\n", re.DOTALL)
"""The first paragraph of a unit."""

PRIVATE: Final = 0o640
SCRIPT: Final = 0o755
FILE: Final = 0o644


def main() -> None:
    """Make the package that the command line names."""
    version, architecture, glibc = sys.argv[1:]
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    os.umask(0o022)
    make_environment()
    values = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "GLIBC": f"2.{glibc}",
        "PYTHON": PYTHON,
        "DATE": email.utils.formatdate(epoch),
        "YEAR": email.utils.formatdate(epoch).split()[3],
    }
    add_commands()
    (TREE / VENV.relative_to("/")).parent.mkdir(parents=True)
    shutil.move(VENV, TREE / VENV.relative_to("/"))
    add_service()
    add_documents(values)
    add_control(values)
    for path in [TREE, *TREE.rglob("*")]:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    # With several threads, xz writes other bytes than with one. Level 6 takes four times as long as
    # level 1, for a package that is smaller by a seventh.
    run(
        "dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z1", "--build", str(TREE),
        str(SOURCES / f"galileod_{version}_{architecture}.deb"),
    )  # fmt: skip


def make_environment() -> None:
    """Make the virtual environment of the wheels, without pip, and compile it."""
    python = VENV / "bin" / PYTHON
    run(f"/usr/bin/{PYTHON}", "-m", "venv", "--without-pip", str(VENV))
    (pip,) = Path("/usr/share/python-wheels").glob("pip-*.whl")
    run(
        f"/usr/bin/{PYTHON}", f"{pip}/pip", f"--python={python}", "--quiet", "install",
        "--disable-pip-version-check", "--root-user-action=ignore", "--no-index", "--no-compile",
        f"--find-links={SOURCES}/wheels", "galileosend",
    )  # fmt: skip
    keep = {"python", "python3", PYTHON, *COMMANDS}
    for path in (VENV / "bin").iterdir():
        if path.name not in keep:
            path.unlink()
    shutil.rmtree(VENV / "include")
    (VENV / ".gitignore").unlink(missing_ok=True)
    shutil.rmtree(VENV / "share")  # the manual pages, which stand in /usr/share/man
    # The system's Python, by a path that also holds where another root is mounted.
    python.unlink()
    python.symlink_to(f"../../../bin/{PYTHON}")
    # The time of the source is not compared: dpkg replaces both.
    compileall.compile_dir(
        VENV / "lib", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def add_commands() -> None:
    """Link the commands into /usr/bin; add what completes them, and their manual pages."""
    for command in COMMANDS:
        link = TREE / "usr/bin" / command
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../lib/galileod/bin/{command}")
        for shell, path in SHELLS.items():
            write(path.format(command), complete(command, shell))
    for section, names in MANUALS.items():
        for name in names:
            page = (SOURCES / "docs" / f"{name}.{section}").read_bytes()
            write(f"usr/share/man/man{section}/{name}.{section}.gz", compress(page))


def complete(command: str, shell: str) -> bytes:
    """The script with which a shell completes the command, as click writes it."""
    asked = f"_{command.replace('-', '_').upper()}_COMPLETE"
    return subprocess.run(
        [VENV / "bin" / command],
        env={**os.environ, asked: f"{shell}_source", "PYTHONDONTWRITEBYTECODE": "1"},
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip


def add_service() -> None:
    """Add the units, the user and the configuration."""
    for unit in ("galileod.service", "galileod.socket"):
        text = (SOURCES / "systemd" / unit).read_text().replace("/opt/galileod/bin/", "/usr/bin/")
        text = ABOUT_INSTALL_SERVICE.sub(
            f"# From the package galileod. To change a setting use `systemctl edit {unit}`.\n\n",
            text,
        )
        write(f"usr/lib/systemd/system/{unit}", text.encode())
    _, users = (SOURCES / "systemd/galileod.sysusers.conf").read_text().split("\n", 1)
    write("usr/lib/sysusers.d/galileod.conf", users.encode())
    write("etc/galileod.toml", (SOURCES / "galileod.toml").read_bytes(), PRIVATE)


def add_documents(values: dict[str, str]) -> None:
    """Add the licences and the changes."""
    documents = "usr/share/doc/galileod"
    licence = (SOURCES / "LICENSE").read_text()
    write(
        f"{documents}/copyright",
        fill("copyright", values | {"LICENSE": licence, "LIBRARIES": "\n".join(list_libraries())}),
    )
    write(f"{documents}/changelog.gz", compress(fill("changelog", values)))
    write(f"{documents}/CHANGELOG.md.gz", compress((SOURCES / "CHANGELOG.md").read_bytes()))
    for path in sorted((SOURCES / "docs").iterdir()):
        if path.is_file() and path.suffix not in (".1", ".8"):
            write(f"{documents}/{path.name}", path.read_bytes())
    write("usr/share/lintian/overrides/galileod", fill("lintian-overrides", values))


def list_libraries() -> Iterator[str]:
    """A paragraph for each library in the environment: its version, and its licence with files."""
    packages = TREE / VENV.relative_to("/") / "lib" / PYTHON / "site-packages"
    found = {each.name.lower(): each for each in distributions(path=[str(packages)])}
    del found["galileosend"]
    for name in sorted(found):
        library = found[name]
        texts = [
            f"/{(packages / file).relative_to(TREE)}"
            for file in sorted(map(str, library.files or ()))
            if file.split("/")[0].endswith(".dist-info")
            and any(word in file.upper() for word in ("LICENSE", "LICENCE", "COPYING", "NOTICE"))
        ]
        yield f"{library.name} {library.version}, {licence_of(library)}"
        yield from (f"    {text}" for text in texts)
        yield ""


def licence_of(library: Distribution) -> str:
    """What the library says of its licence."""
    metadata = library.metadata
    said = [metadata[key] for key in ("License-Expression", "License") if key in metadata]
    classified = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier", [])
        if each.startswith("License :: ")
    ]
    # Some have the whole text in that field.
    return said[0] if said and "\n" not in said[0] else ", ".join(classified)


def add_control(values: dict[str, str]) -> None:
    """Add what dpkg reads and runs."""
    files = sorted(path for path in TREE.rglob("*") if path.is_file() and not path.is_symlink())
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(TREE)}\n"
        for path in files
        if path.relative_to(TREE).parts[0] != "etc"  # dpkg knows those of conffiles itself
    ]
    # As dpkg-gencontrol counts: files in whole KiB, and one for everything else.
    kib = sum(1 if path not in files else -(-path.stat().st_size // 1024) for path in tree())
    write("DEBIAN/control", fill("control", values | {"SIZE": str(kib)}))
    write("DEBIAN/conffiles", b"/etc/galileod.toml\n")
    write("DEBIAN/md5sums", "".join(sums).encode())
    for script in ("preinst", "postinst", "prerm", "postrm"):
        write(f"DEBIAN/{script}", (SOURCES / "debian" / script).read_bytes(), SCRIPT)


def tree() -> Sequence[Path]:
    """All that is in the tree so far."""
    return list(TREE.rglob("*"))


def fill(name: str, values: dict[str, str]) -> bytes:
    """A file of this directory with the values in place of $NAME."""
    return Template((SOURCES / "debian" / name).read_text()).substitute(values).encode()


def compress(content: bytes) -> bytes:
    """The content as gzip -9n writes it."""
    return gzip.compress(content, 9, mtime=0)


def write(path: str, content: bytes, mode: int = FILE) -> None:
    """Write a file of the tree."""
    target = TREE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(mode)


def run(*command: str) -> None:
    """Run a command, which prints what is wrong itself."""
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"assemble.py: failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
