"""Assembles the Debian packages, within a Debian of the release that they are for.

    python3 assemble.py VERSION ARCHITECTURE GLIBC [EXTRA]...

`packaging/deb` copies this directory, the wheels and the other sources to /galileod-package and
runs it there, as root. The packages are written to that directory: galileod, and for each EXTRA of
the distribution galileod-EXTRA, with the libraries that it needs beside; control-EXTRA describes
it. SOURCE_DATE_EPOCH is the time of all files; the same sources give the same bytes.
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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from string import Template
from typing import Final

SOURCES: Final = Path("/galileod-package")
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


@dataclass(frozen=True)
class Package:
    """A package; `values` are those of the templates in this directory."""

    name: str
    values: Mapping[str, str]

    @property
    def tree(self) -> Path:
        """What is unpacked on the machine of the administrator."""
        return SOURCES / "trees" / self.name

    @property
    def documents(self) -> str:
        """Where its documents are."""
        return f"usr/share/doc/{self.name}"

    def write(self, path: str, content: bytes, mode: int = FILE) -> None:
        """Write a file of the tree."""
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)

    def fill(self, template: str, **more: str) -> bytes:
        """A file of this directory with the values in place of $NAME."""
        text = (SOURCES / "debian" / template).read_text()
        return Template(text).substitute(self.values, PACKAGE=self.name, **more).encode()


def main() -> None:
    """Make the packages that the command line names."""
    version, architecture, glibc, *extras = sys.argv[1:]
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    os.umask(0o022)
    values = {
        "VERSION": version,
        "GLIBC": f"2.{glibc}",
        "PYTHON": PYTHON,
        "DATE": email.utils.formatdate(epoch),
        "YEAR": email.utils.formatdate(epoch).split()[3],
    }
    make_environment()
    for extra in extras:
        package = Package(f"galileod-{extra}", values)
        move(add_libraries(f"galileosend[{extra}]"), package)
        add_documents(package, "copyright-extra")
        has_machine_code = any(".so" in path.suffixes for path in package.tree.rglob("*"))
        add_control(package, f"control-{extra}", architecture if has_machine_code else "all")
        pack(package, epoch)
    galileod = Package("galileod", values)
    add_commands(galileod)
    move(files_of(VENV), galileod)
    add_service(galileod)
    add_documents(galileod, "copyright")
    add_manual(galileod)
    for script in ("preinst", "postinst", "prerm", "postrm"):
        content = (SOURCES / "debian" / script).read_bytes()
        galileod.write(f"DEBIAN/{script}", content, SCRIPT)
    galileod.write("DEBIAN/conffiles", b"/etc/galileod.toml\n")
    add_control(galileod, "control", architecture)
    pack(galileod, epoch)


def make_environment() -> None:
    """Make the virtual environment with galileod, without pip."""
    run(f"/usr/bin/{PYTHON}", "-m", "venv", "--without-pip", str(VENV))
    add_libraries("galileosend")
    shutil.rmtree(VENV / "include")
    (VENV / ".gitignore").unlink(missing_ok=True)
    shutil.rmtree(VENV / "share")  # the manual pages, which stand in /usr/share/man
    # The system's Python, by a path that also holds where another root is mounted.
    python = VENV / "bin" / PYTHON
    python.unlink()
    python.symlink_to(f"../../../bin/{PYTHON}")


def add_libraries(requirement: str) -> list[Path]:
    """Install wheels into the environment, and compile them; returns the files that are new."""
    before = set(files_of(VENV / "lib"))
    (pip,) = Path("/usr/share/python-wheels").glob("pip-*.whl")
    run(
        f"/usr/bin/{PYTHON}", f"{pip}/pip", f"--python={VENV}/bin/{PYTHON}", "--quiet", "install",
        "--disable-pip-version-check", "--root-user-action=ignore", "--no-index", "--no-compile",
        f"--find-links={SOURCES}/wheels", requirement,
    )  # fmt: skip
    keep = {"python", "python3", PYTHON, *COMMANDS}
    for path in (VENV / "bin").iterdir():
        if path.name not in keep:
            path.unlink()
    for path in sorted(set(files_of(VENV / "lib")) - before):
        if path.suffix == ".py":
            # The time of the source is not compared: dpkg replaces both.
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            compileall.compile_file(path, quiet=1, invalidation_mode=mode)
    return sorted(set(files_of(VENV / "lib")) - before)


def move(files: Iterable[Path], package: Package) -> None:
    """Move files of the environment into a package."""
    for path in files:
        target = package.tree / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)


def add_commands(package: Package) -> None:
    """Link the commands into /usr/bin; add what completes them, and their manual pages."""
    for command in COMMANDS:
        link = package.tree / "usr/bin" / command
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../lib/galileod/bin/{command}")
        for shell, path in SHELLS.items():
            package.write(path.format(command), complete(command, shell))
    for section, names in MANUALS.items():
        for name in names:
            page = (SOURCES / "docs" / f"{name}.{section}").read_bytes()
            package.write(f"usr/share/man/man{section}/{name}.{section}.gz", compress(page))


def complete(command: str, shell: str) -> bytes:
    """The script with which a shell completes the command, as click writes it."""
    asked = f"_{command.replace('-', '_').upper()}_COMPLETE"
    return subprocess.run(
        [VENV / "bin" / command],
        env={**os.environ, asked: f"{shell}_source", "PYTHONDONTWRITEBYTECODE": "1"},
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip


def add_service(package: Package) -> None:
    """Add the units, the user and the configuration."""
    for unit in ("galileod.service", "galileod.socket"):
        text = (SOURCES / "systemd" / unit).read_text().replace("/opt/galileod/bin/", "/usr/bin/")
        text = ABOUT_INSTALL_SERVICE.sub(
            f"# From the package galileod. To change a setting use `systemctl edit {unit}`.\n\n",
            text,
        )
        package.write(f"usr/lib/systemd/system/{unit}", text.encode())
    _, users = (SOURCES / "systemd/galileod.sysusers.conf").read_text().split("\n", 1)
    package.write("usr/lib/sysusers.d/galileod.conf", users.encode())
    package.write("etc/galileod.toml", (SOURCES / "galileod.toml").read_bytes(), PRIVATE)


def add_documents(package: Package, licences: str) -> None:
    """Add what Debian wants to have; `licences` is the template of the file copyright."""
    licence = (SOURCES / "LICENSE").read_text()
    libraries = "\n".join(list_libraries(package))
    content = package.fill(licences, LICENSE=licence, LIBRARIES=libraries)
    package.write(f"{package.documents}/copyright", content)
    package.write(f"{package.documents}/changelog.gz", compress(package.fill("changelog")))
    overrides = package.fill("lintian-overrides")
    package.write(f"usr/share/lintian/overrides/{package.name}", overrides)


def add_manual(package: Package) -> None:
    """Add the documents and the changes."""
    changes = compress((SOURCES / "CHANGELOG.md").read_bytes())
    package.write(f"{package.documents}/CHANGELOG.md.gz", changes)
    for path in sorted((SOURCES / "docs").iterdir()):
        if path.is_file() and path.suffix not in (".1", ".8"):
            package.write(f"{package.documents}/{path.name}", path.read_bytes())


def list_libraries(package: Package) -> Iterator[str]:
    """A paragraph for each library in a package: its version, and its licence with files."""
    packages = package.tree / VENV.relative_to("/") / "lib" / PYTHON / "site-packages"
    found = {each.name.lower(): each for each in distributions(path=[str(packages)])}
    found.pop("galileosend", None)
    for name in sorted(found):
        library = found[name]
        texts = [
            f"/{(packages / file).relative_to(package.tree)}"
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


def add_control(package: Package, template: str, architecture: str) -> None:
    """Add what dpkg reads, once all is there that is unpacked."""
    tree, own = package.tree, package.tree / "DEBIAN"
    paths = [path for path in tree.rglob("*") if not path.is_relative_to(own)]
    files = sorted(path for path in paths if path.is_file() and not path.is_symlink())
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(tree)}\n"
        for path in files
        if path.relative_to(tree).parts[0] != "etc"  # dpkg knows those of conffiles itself
    ]
    # As dpkg-gencontrol counts: files in whole KiB, and one for everything else.
    kib = sum(1 if path not in files else -(-path.stat().st_size // 1024) for path in paths)
    control = package.fill(template, ARCHITECTURE=architecture, SIZE=str(kib))
    package.write("DEBIAN/control", control)
    package.write("DEBIAN/md5sums", "".join(sums).encode())


def pack(package: Package, epoch: int) -> None:
    """Write the package, with this time for all files."""
    for path in [package.tree, *package.tree.rglob("*")]:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    # With several threads, xz writes other bytes than with one. Level 6 takes four times as long as
    # level 1, for a package that is smaller by a seventh.
    run(
        "dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z1", "--build",
        str(package.tree), str(SOURCES),
    )  # fmt: skip


def files_of(directory: Path) -> list[Path]:
    """All files and links below a directory."""
    return [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]


def compress(content: bytes) -> bytes:
    """The content as gzip -9n writes it."""
    return gzip.compress(content, 9, mtime=0)


def run(*command: str) -> None:
    """Run a command, which prints what is wrong itself."""
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"assemble.py: failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
