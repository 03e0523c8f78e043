"""What a file gets from its folder: the group, if the folder has setgid, and a default ACL."""

import errno
import os
import stat
from typing import Final

from .acl import ACCESS, default_acl, inherited, remove_acl, set_acl

FILE_MODE: Final = 0o640

_NOT_PERMITTED: Final = {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}
"""EINVAL: in a user namespace, as that of the systemd unit, without the user or the group."""


def can_inherit(fd: int, folder_fd: int) -> bool:
    """Let the file inherit from the folder; False if this process is not permitted to do that.

    A file without a default ACL to inherit keeps its permissions. Raises OSError.
    """
    try:
        _inherit_group(fd, folder_fd)
        default = default_acl(folder_fd)
        if default is not None:
            _set(fd, default)
    except OSError as error:
        if error.errno in _NOT_PERMITTED:
            return False
        raise
    return True


def inherit(fd: int, folder_fd: int) -> None:
    """Give the file what one that is created in the folder with FILE_MODE has. Raises OSError.

    Without a default ACL the permissions are FILE_MODE, whatever the umask.
    """
    _inherit_group(fd, folder_fd)
    default = default_acl(folder_fd)
    if default is None:
        os.fchmod(fd, FILE_MODE)
    else:
        _set(fd, default)


def complete(fd: int, folder_fd: int) -> None:
    """Do the same for a file that was created in the folder, and has inherited. Raises OSError."""
    if default_acl(folder_fd) is None:  # otherwise the umask had no effect
        remove_acl(fd, ACCESS)
        os.fchmod(fd, FILE_MODE)


def _inherit_group(fd: int, folder_fd: int) -> None:
    folder = os.fstat(folder_fd)
    if folder.st_mode & stat.S_ISGID and os.fstat(fd).st_gid != folder.st_gid:
        os.fchown(fd, -1, folder.st_gid)


def _set(fd: int, default: bytes) -> None:
    permissions, acl = inherited(default, FILE_MODE)
    if acl is None:
        os.fchmod(fd, permissions)
    else:
        set_acl(fd, acl)
