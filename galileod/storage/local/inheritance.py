"""What a file gets from its folder: the group, if the folder has setgid, and a default ACL."""

import errno
import os
import stat
from typing import Final, Self

from attrs import frozen

from .acl import ACCESS, default_acl, inherited, remove_acl, set_acl

FILE_MODE: Final = 0o640
PRIVATE_MODE: Final = 0o600

_NOT_PERMITTED: Final = {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}
"""EINVAL: in a user namespace, as that of the systemd unit, without the user or the group."""


@frozen
class Inherited:
    """What a new file gets from a folder: `mode`, or the ACL `acl` if it is one that `mode` is not.

    If `gid` is None, its group is that of the process. `from_acl` tells whether the folder has a
    default ACL.
    """

    gid: int | None
    mode: int
    acl: bytes | None
    from_acl: bool

    @classmethod
    def of(cls, folder_fd: int) -> Self:
        """What files get from this folder. Raises OSError."""
        folder = os.fstat(folder_fd)
        gid = folder.st_gid if folder.st_mode & stat.S_ISGID else None
        default = default_acl(folder_fd)
        if default is None:
            return cls(gid, FILE_MODE, None, from_acl=False)
        return cls(gid, *inherited(default, FILE_MODE), from_acl=True)

    @property
    def first_mode(self) -> int:
        """The mode with which a file is to be created before it gets all of this."""
        return self.mode if self.acl is None else PRIVATE_MODE

    def give(self, fd: int, state: os.stat_result) -> bool:
        """Give all of it to the file, whose state is given.

        False if this process is not permitted to do that. Raises OSError.
        """
        try:
            self.give_group(fd, state)
            if self.acl is not None:
                set_acl(fd, self.acl)
            elif stat.S_IMODE(state.st_mode) != self.mode:
                os.fchmod(fd, self.mode)
        except OSError as error:
            if error.errno in _NOT_PERMITTED:
                return False
            raise
        return True

    def give_group(self, fd: int, state: os.stat_result) -> None:
        """Give the group to the file. Raises OSError."""
        if self.gid is not None and state.st_gid != self.gid:
            os.fchown(fd, -1, self.gid)


def inherit(fd: int, folder_fd: int, *, final: bool) -> bool:
    """Let the file inherit from the folder; False if this process is not permitted to do that.

    If `final`, a file that inherits no ACL gets FILE_MODE, whatever the umask. Raises OSError.
    """
    try:
        from_folder, state = Inherited.of(folder_fd), os.fstat(fd)
        if from_folder.from_acl or final:
            return from_folder.give(fd, state)
        from_folder.give_group(fd, state)
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
