"""The identity by which a file is found again after a crash."""

import os

_SECOND = 1_000_000_000


def identity_of(state: os.stat_result, *, inode_kept: bool) -> str:
    """The identity of a file that is complete and not yet published.

    Other filesystems may be mounted below the directory, and have files with the same inode number;
    a device number may change when the machine starts. So the modification time, which publication
    keeps, tells the files apart. Where publication gives a file another inode number (not
    `inode_kept`), the time alone identifies it.
    """
    return f"{state.st_ino if inode_kept else ''}-{state.st_mtime_ns}"


def identities_of(state: os.stat_result) -> tuple[str, ...]:
    """All identities under which a published file may be asked for."""
    inode, modified = str(state.st_ino), state.st_mtime_ns
    # Earlier versions have recorded the inode number alone.
    exact = (f"{inode}-{modified}", inode)
    # A time in whole seconds may be that of several files.
    return exact if modified % _SECOND == 0 else (*exact, f"-{modified}")
