"""What a file gets from its folder: the group, if the folder has setgid, and a default ACL."""

import errno
import os
import stat
from typing import Final

from .acl import ACCESS, default_acl, inherited, remove_acl, set_acl

FILE_MODE: Final = 0o640

_NOT_PERMITTED: Final = {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}
"""EINVAL: in a user namespace, as that of the systemd unit, without the user or the group."""


def inherit(fd: int, folder_fd: int, *, final: bool) -> bool:
    """Let the file inherit from the folder; False if this process is not permitted to do that.

    If `final`, a file that inherits no ACL gets FILE_MODE, whatever the umask. Raises OSError.
    """
    try:
        _inherit_group(fd, folder_fd)
        default = default_acl(folder_fd)
        if default is not None:
            _set(fd, default)
        elif final:
            os.fchmod(fd, FILE_MODE)
    except OSError as error:
        if error.errno in _NOT_PERMITTED:
            return False
        raise
    return True


def complete(fd: int, folder_fd: int) -> None:
    """Complete the permissions of a file that was created in the folder. Raises OSError.

    It has inherited everything; but if it inherits no ACL, its permissions depend on the umask.
    """
    if default_acl(folder_fd) is None:
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
