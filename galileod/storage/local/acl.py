"""POSIX ACLs: what a new file inherits from the default ACL of its folder.

An ACL is in the format of its extended attribute (acl(5), linux/posix_acl_xattr.h): a version, then
entries of a tag, permissions and an identifier, all little-endian.
"""

import errno
import os
import struct
from typing import Final

ACCESS: Final = "system.posix_acl_access"
DEFAULT: Final = "system.posix_acl_default"

_VERSION: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")

_USER_OBJ: Final = 0x01
_GROUP_OBJ: Final = 0x04
_MASK: Final = 0x10
_OTHER: Final = 0x20

_NONE: Final = {errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS}


def inherited(default: bytes, mode: int) -> tuple[int, bytes | None]:
    """The permissions and the ACL of a file created with `mode` in a folder with ACL `default`.

    The ACL is None if the permissions express all of it. As in the kernel (posix_acl_create), the
    mode limits the entries of the owner, of the mask (of the group if there is no mask), and of
    others; the umask has no effect.
    """
    entries = [list(entry) for entry in _ENTRY.iter_unpack(default[_VERSION.size :])]
    tags = {tag for tag, _, _ in entries}
    shifts = {_USER_OBJ: 6, _MASK if _MASK in tags else _GROUP_OBJ: 3, _OTHER: 0}
    permissions = 0
    for entry in entries:
        shift = shifts.get(entry[0])
        if shift is not None:
            entry[1] &= mode >> shift & 0o7
            permissions |= entry[1] << shift
    if tags <= {_USER_OBJ, _GROUP_OBJ, _OTHER}:
        return permissions, None
    return permissions, default[: _VERSION.size] + b"".join(_ENTRY.pack(*one) for one in entries)


def default_acl(folder_fd: int) -> bytes | None:
    """The default ACL of a folder; None if it has none. Raises OSError."""
    try:
        return os.getxattr(folder_fd, DEFAULT)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


def set_acl(fd: int, acl: bytes) -> None:
    """Set the ACL of a file, and thereby its permissions. Raises OSError."""
    os.setxattr(fd, ACCESS, acl)


def remove_acl(fd: int, which: str) -> None:
    """Remove the ACL `which`, ACCESS or DEFAULT, if there is one. Raises OSError."""
    try:
        os.removexattr(fd, which)
    except OSError as error:
        if error.errno not in _NONE:
            raise
