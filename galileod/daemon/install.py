"""Installs galileod as a systemd service: writes its files below /etc, and removes them."""

import grp
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from galileod.config.file import DEFAULT_FILE

MARK: Final = "# Written by `galileod install-service`"
"""The first line of files that install-service wrote. Other files are not changed or removed."""

SERVICE: Final = "galileod.service"
SOCKET: Final = "galileod.socket"

INACCESSIBLE: Final = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108  only compared
"""Directories that ProtectHome= and PrivateTmp= hide from the service."""

COMMAND_SECONDS: Final = 300
"""Time limit in seconds of a systemd command; stopping the service waits for running uploads."""

_UNITS: Final = "/etc/systemd/system"
_FILES: Final = {
    f"{_UNITS}/{SERVICE}": f"systemd/{SERVICE}",
    f"{_UNITS}/{SOCKET}": f"systemd/{SOCKET}",
    "/etc/sysusers.d/galileod.conf": "systemd/galileod.sysusers.conf",
}
"""Each installed file and its source. The configuration file, which administrators edit, is not
among them."""

_PACKAGED: Final = f"/usr/lib/systemd/system/{SERVICE}"
"""Where a package of the distribution has the unit. One in /etc overrides it."""

_KEPT: Final = (
    DEFAULT_FILE,
    *(f"{_UNITS}/{unit}.d" for unit in (SERVICE, SOCKET)),  # written by systemctl edit
    "/var/lib/galileod",
)

_EXEC: Final = re.compile(r"(?m)^(ExecStart|ExecReload)=\S+")
"""The lines of a unit that contain the path of the program."""

_UNSAFE: Final = re.compile(r"""[\x00-\x1f\x7f"'\\]""")
"""Characters that the path of a program in a unit cannot contain, even if it is quoted."""

Report = Callable[[str], object]
"""Prints a line for the user."""


class InstallError(Exception):
    """The service cannot be installed or removed; the message says why, in one line."""


def install(root: str, report: Report) -> None:
    """Write the files of the service below `root`; if that is "/", also reload systemd.

    `report` is called with a line for each step, and with the commands to run next. Files from an
    earlier installation are overwritten. Raises InstallError.
    """
    root = _root(root)
    if root == "/":
        _check_root("install-service")
    program = _program(root)
    if root == "/":
        _check_reachable(program)
    packaged = _below(root, _PACKAGED)
    if os.path.lexists(packaged):
        raise InstallError(
            f"{packaged}: a package has installed the service already, and updates it; to change"
            f" a setting use systemctl edit {SERVICE}, to start it"
            f" systemctl enable --now {SOCKET} {SERVICE}"
        )
    # Quoted for spaces; % is special within quotes, too (systemd.syntax(7)).
    quoted = f'"{program.replace("%", "%%")}"'
    foreign = [path for path in _files(root) if os.path.lexists(path) and not _is_ours(path)]
    if foreign:
        raise InstallError(f"{foreign[0]}: was not written by galileod: move it away first")
    for path, source in _files(root).items():
        _write(path, _EXEC.sub(lambda found: f"{found[1]}={quoted}", _shipped(source)))
        report(f"wrote {path}")
    if root == "/":
        _run("systemd-sysusers", "galileod.conf")  # creates the group that owns the configuration
    settings = _below(root, DEFAULT_FILE)
    if os.path.lexists(settings):
        report(f"kept {settings}")
    else:
        _write(settings, _shipped("etc/galileod.toml"), _group() if root == "/" else None)
        report(f"wrote {settings}")
    if root == "/":
        if _booted():
            _run("systemctl", "daemon-reload")
        report(f"Next: systemctl enable --now {SOCKET} {SERVICE}")
        report(f"If it runs already: systemctl restart {SERVICE}")


def uninstall(root: str, report: Report) -> None:
    """Stop the service, and remove the files that `install` wrote, except the configuration.

    `report` is called with a line for each file that is removed or kept. Files that do not exist
    are ignored. Raises InstallError.
    """
    root = _root(root)
    if root == "/":
        _check_root("uninstall-service")
    present = [path for path in _files(root) if os.path.lexists(path)]
    ours = [path for path in present if _is_ours(path)]
    units = [os.path.basename(path) for path in ours if path.startswith(_UNITS)]
    if root == "/" and units and _booted():
        _run("systemctl", "disable", "--now", *units)
    for path in ours:
        with _translated(path):
            os.unlink(path)
        report(f"removed {path}")
    if root == "/" and units and _booted():
        _run("systemctl", "daemon-reload")
    for path in present:
        if path not in ours:
            report(f"kept {path}: it was not written by galileod")
    packaged = _below(root, _PACKAGED)
    if os.path.lexists(packaged):
        report(f"kept {packaged}: it belongs to a package")
    for path in _KEPT:
        if os.path.lexists(_below(root, path)):
            report(f"kept {_below(root, path)}")


def _root(given: str) -> str:
    """`given` as an absolute path; "/" if it is the root directory of this machine."""
    if not given:
        raise InstallError("--root: '': expected a directory")
    root = f"/{os.path.abspath(given).lstrip('/')}"
    return "/" if os.path.realpath(root) == "/" else root


def _program(root: str) -> str:
    """The absolute path of the running galileod; without `root` in front if it is below that."""
    program = os.path.abspath(sys.argv[0])
    if os.path.basename(program) == "__main__.py":  # python -m galileod
        program = os.path.join(sysconfig.get_path("scripts"), "galileod")
    if not os.access(program, os.X_OK):
        raise InstallError(f"{program}: is not an executable file")
    if _UNSAFE.search(program):
        raise InstallError(
            f"{program!r}: systemd cannot start a program whose path contains quotes,"
            " backslashes or control characters"
        )
    inside = os.path.join(root, "")
    return f"/{program.removeprefix(inside)}" if program.startswith(inside) else program


def _check_root(command: str) -> None:
    if os.geteuid() != 0:
        raise InstallError(f"{command} must be run by root, as in: sudo {sys.argv[0]} {command}")


def _check_reachable(program: str) -> None:
    """Raise InstallError if the service cannot access its program or Python."""
    for path in (program, sys.prefix, sys.base_prefix, __file__):
        real = os.path.realpath(path)
        if real.startswith(INACCESSIBLE):
            raise InstallError(
                f"{real}: the service has no access to {' '.join(INACCESSIBLE)}; install galileod"
                " elsewhere first, such as in /opt/galileod (python3 -m venv), or with"
                " PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx install"
            )


def _shipped(name: str) -> str:
    """The text of a file of `systemd/` or `etc/`, in the package or in the source tree."""
    package = Path(__file__).parent.parent
    inside = package / "shipped" / name
    return (inside if inside.exists() else package.parent / name).read_text("utf-8")


def _files(root: str) -> dict[str, str]:
    return {_below(root, path): source for path, source in _FILES.items()}


def _below(root: str, path: str) -> str:
    """`path` below `root`. Raises InstallError if a symbolic link leads out of `root`."""
    found = os.path.join(root, path.lstrip("/"))
    parent = os.path.realpath(os.path.dirname(found))
    inside = os.path.realpath(root)
    if os.path.commonpath((inside, parent)) != inside:
        raise InstallError(f"{found}: a symbolic link leads out of {root}, to {parent}")
    return found


def _is_ours(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False  # not written by install; opening a FIFO would block
    with _translated(path), open(path, "rb") as file:
        return file.readline(len(MARK)).startswith(MARK.encode())


def _group() -> int | None:
    """The group id of the service, or None if systemd-sysusers did not create it."""
    try:
        return grp.getgrnam("galileod").gr_gid
    except KeyError:
        return None


def _write(path: str, text: str, group: int | None = None) -> None:
    """Write the file atomically: systemd reads the old or the new content.

    With `group`, only root and that group can read it.
    """
    directory = os.path.dirname(path)
    with _translated(path):
        os.makedirs(directory, mode=0o755, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=directory, prefix=".galileod-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                if group is not None:
                    os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, 0o644 if group is None else 0o640)
                os.fsync(descriptor)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise


def _booted() -> bool:
    """Whether this machine was booted with systemd (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def _run(*command: str) -> None:
    """Run a command of systemd, if it is installed. Raises InstallError if it fails."""
    if shutil.which(command[0]) is None:
        return
    line = " ".join(command)
    try:
        # Its output is not captured: the user sees it.
        status = subprocess.run(command, check=False, timeout=COMMAND_SECONDS).returncode  # noqa: S603  fixed
    except subprocess.TimeoutExpired:
        raise InstallError(f"{line}: did not finish within {COMMAND_SECONDS} seconds") from None
    if status != 0:
        raise InstallError(f"{line}: failed with status {status}")


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Raise an OSError in the block as InstallError with `path`."""
    try:
        yield
    except OSError as error:
        raise InstallError(f"{path}: {error.strerror}") from error
