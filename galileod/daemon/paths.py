"""Checks the paths of the configuration that are used only later: the directory and the hook."""

import errno
import os
import shutil
import stat
from typing import Final

from galileod.hooks.settings import Hook

MAX_DIRECTORY: Final = 1024
"""Maximum bytes in the path of a directory. Linux allows 4096; the rest is for the files in it."""

_IMPOSSIBLE: Final = {errno.ENAMETOOLONG, errno.ELOOP}
"""What stat(2) fails with if nothing can be at a path."""

_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR}

PROGRAM_EXPECTED: Final = "expected an executable file, or the name of one in $PATH"


class PathError(Exception):
    """A path cannot be used; the message says why, and has no part of a hook."""


def check_directory(directory: str) -> None:
    """Raise PathError if there is no directory at this path, and none can be created."""
    path = os.path.abspath(directory)
    if (length := len(os.fsencode(path))) > MAX_DIRECTORY:
        raise PathError(f"a path of {length} bytes: expected at most {MAX_DIRECTORY} bytes")
    existing = nearest_existing(path)
    if existing is None or os.path.isdir(existing):
        return  # if this user may not look at it, the daemon's user perhaps may
    if existing == path:
        raise PathError(
            f"{path}: is not a directory: expected a directory, or a path for a new one"
        )
    raise PathError(f"{path}: cannot be created, since {existing} is not a directory")


def nearest_existing(path: str) -> str | None:
    """`path`, or the nearest directory above it that exists; None if that is not known.

    Raises PathError if nothing can exist at this path.
    """
    while True:
        try:
            os.stat(path)
        except OSError as error:
            if error.errno in _IMPOSSIBLE:
                raise PathError(f"{path}: cannot exist: {error.strerror}") from None
            if error.errno not in _ABSENT:
                return None
            if os.path.islink(path):
                raise PathError(f"{path}: is a symbolic link to nothing") from None
            path = os.path.dirname(path)
        else:
            return path


def check_command(hook: Hook, directory: str) -> None:
    """Raise PathError if the hook is a command whose program does not exist.

    The command is run in `directory`.
    """
    if isinstance(hook, str) or not hook:
        return
    program = hook[0]
    if "/" not in program:
        if shutil.which(program, path=os.pathsep.join(os.get_exec_path())) is None:
            raise PathError(f"no program of this name is in $PATH: {PROGRAM_EXPECTED}")
        return
    try:
        mode = os.stat(os.path.join(os.path.abspath(directory), program)).st_mode
    except OSError as error:
        if error.errno in _ABSENT | _IMPOSSIBLE:
            reason = f"the program cannot be found ({error.strerror}): {PROGRAM_EXPECTED}"
            raise PathError(reason) from None
        return  # if this user may not look at it, the daemon's user perhaps may
    if not stat.S_ISREG(mode) or not mode & 0o111:
        raise PathError(f"the program is not executable: {PROGRAM_EXPECTED}")
