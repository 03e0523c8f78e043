"""The folder that a file goes into: what it would refuse is found out before the data comes."""

import errno
import os
import re
import stat
from contextlib import AbstractContextManager
from typing import Final, Self

from attrs import frozen

from galileod.policy.publication import OnConflict
from galileod.storage.errors import BadNameError, ConflictError, StorageError
from galileod.storage.oserrors import translated

from .folders import Folder
from .inheritance import FILE_MODE, Inherited, complete, inherit
from .leftovers import temporary_name
from .projects import inherited_project
from .publish import MAX_NUMBER, already_exists, is_a_directory, refused_name
from .spool import NO_UNNAMED, UNNAMED, Spool

_PLAIN: Final = re.compile(r"[A-Za-z0-9._ -]{1,100}")
"""Names that every filesystem accepts."""

MAX_PATH: Final = 4095
"""Maximum bytes of a path that the kernel accepts (PATH_MAX, without the zero at its end)."""

_NUMBER_BYTES: Final = len(f" ({MAX_NUMBER})")


def check_target(
    spool: Spool, folder: Folder, path: str, on_conflict: OnConflict, *, exists: bool
) -> None:
    """Check that a file may be stored at the path; `folder` and `exists` are from `nearest`.

    Creates nothing in the folder, since programs may watch it. Blocks. Raises ConflictError,
    BadNameError and StorageError.
    """
    name = path.rpartition("/")[2]
    status = check_folder(folder)
    if not exists:
        check_new_folders(spool, path, status)
    check_name(spool, name, on_conflict, status)
    if exists:
        check_existing(folder, name, on_conflict)


def check_folder(folder: Folder) -> os.statvfs_result:
    """Check that files can be created in the folder; returns the state of its filesystem.

    Blocks. Raises StorageError.
    """
    with _using(folder):
        status = os.fstatvfs(folder.fd)
        if status.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder.fd, effective_ids=True):
            raise OSError(errno.EACCES, "it is not writable")
    return status


def check_new_folders(spool: Spool, path: str, status: os.statvfs_result) -> None:
    """Check that the filesystem accepts the names of all folders in the path of a file.

    Blocks. Raises BadNameError and StorageError.
    """
    for name in path.split("/")[:-1]:
        check_name(spool, name, "reject", status)


def check_length(location: str, path: str, longest: int | None) -> None:
    """Check that programs can open a file at `path` below `location`.

    `longest` are the bytes of a path that can be recorded, None: any number. Raises BadNameError.
    """
    own = len(os.fsencode(path)) + _NUMBER_BYTES
    length = len(os.fsencode(location)) + 1 + own
    if length > MAX_PATH:
        raise BadNameError(f"the path has {length} bytes, and the system accepts {MAX_PATH}")
    if longest is not None and own > longest:
        raise BadNameError(f"the path has {own} bytes, and the ledger accepts {longest}")


def check_name(spool: Spool, name: str, on_conflict: OnConflict, status: os.statvfs_result) -> None:
    """Check that the filesystem accepts the name; `status` is from `check_folder`.

    Blocks. Raises BadNameError and StorageError.
    """
    number = _NUMBER_BYTES if on_conflict == "rename" else 0
    if len(os.fsencode(name)) + number > status.f_namemax:
        raise refused_name(name)
    if spool.any_name or _PLAIN.fullmatch(name):
        return
    with translated("cannot create a file of this name in the spool"):
        if not spool.accepts(name):
            raise refused_name(name)


def check_existing(folder: Folder, name: str, on_conflict: OnConflict) -> None:
    """Check that no file of that name refuses the new one. Blocks.

    Raises ConflictError and StorageError.
    """
    if on_conflict == "rename":
        return
    try:
        state = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except OSError:
        return  # most likely it does not exist; publication decides
    if on_conflict == "reject":
        raise already_exists(f"{folder.path}/{name}" if folder.path else name)
    if stat.S_ISDIR(state.st_mode):
        raise is_a_directory(name)
    with _using(folder):
        parent = os.fstat(folder.fd)
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in {0, state.st_uid, parent.st_uid}:
        raise ConflictError(f"{name} is a file of another user, in a folder with the sticky bit")


def same_filesystem(spool: Spool, folder: Folder) -> bool:
    """Whether a file can be renamed from the spool to the folder. Raises OSError."""
    # Renaming "." always fails, and before that the kernel compares the mounts.
    try:
        os.rename(".", ".", src_dir_fd=spool.fd, dst_dir_fd=folder.fd)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
    # Btrfs subvolumes have one mount and several devices; project quotas have one device.
    if os.fstat(spool.fd).st_dev != os.fstat(folder.fd).st_dev:
        return False
    project = inherited_project(folder.fd)
    return project is None or project == (inherited_project(spool.fd) or 0)


def fits(spool: Spool, folder: Folder, fd: int, *, unnamed: bool, final: bool) -> bool:
    """Give the file what it gets from the folder; False if it cannot go there as it is.

    `final` is as for `inherit`. Raises OSError.
    """
    if not unnamed:
        return same_filesystem(spool, folder) and inherit(fd, folder.fd, final=final)
    if os.fstat(fd).st_dev != os.fstat(folder.fd).st_dev:
        return False
    if final:
        complete(fd, folder.fd)
    return True


@frozen
class Destination:
    """What holds for the files in a folder, found out once for many.

    `status` is from `check_folder`. A file can be created in the spool and renamed from there; then
    it gets what is `inherited`. If that is None, it takes the way of `create_file`.
    """

    status: os.statvfs_result
    inherited: Inherited | None

    @classmethod
    def of(cls, spool: Spool, folder: Folder) -> Self:
        """Find it out; raises what `check_folder` raises, and StorageError."""
        status = check_folder(folder)
        with _using(folder):
            usual = spool.renames and (spool.unnamed_files or not folder.path)
            if not usual or not same_filesystem(spool, folder):
                return cls(status, None)
            return cls(status, Inherited.of(folder.fd))


def create_file(spool: Spool, folder: Folder, upload: str) -> tuple[int, bool]:
    """Create the file of an upload; returns its descriptor, and whether it is unnamed.

    It is in the spool if it can be moved into the folder from there, with the group and the ACL
    that it inherits. Otherwise it is on the folder's filesystem, without a name. Blocks. Raises
    StorageError.
    """
    with _using(folder):
        if same_filesystem(spool, folder):
            fd = spool.create(upload)
            try:
                usable = inherit(fd, folder.fd, final=False) and _accepts(folder, spool, upload)
            except BaseException:
                os.close(fd)
                spool.remove(upload)
                raise
            if usable:
                return fd, False
            os.close(fd)
            spool.remove(upload)
    return create_unnamed(folder), True


def create_unnamed(folder: Folder) -> int:
    """Create a file without a name on the folder's filesystem. Raises StorageError."""
    with translated(f"cannot create a file in the folder {folder.path or '.'}"):
        try:
            fd = os.open(".", UNNAMED, FILE_MODE, dir_fd=folder.fd)
        except OSError as error:
            if error.errno not in NO_UNNAMED:
                raise
            raise StorageError(
                f"files cannot be moved into the folder {folder.path or '.'}, and its filesystem "
                "cannot create files without a name (O_TMPFILE)"
            ) from error
        try:
            os.stat(f"/proc/self/fd/{fd}")  # the way by which it will get its name
        except BaseException:
            os.close(fd)
            raise
    return fd


def _accepts(folder: Folder, spool: Spool, upload: str) -> bool:
    """Whether the file can be moved from the spool to the folder. Raises OSError if it is refused.

    Only where files always have names (FUSE, network filesystems), the file is moved there for a
    moment, under a temporary name: what such a filesystem or its server refuses cannot be found out
    in another way.
    """
    if spool.unnamed_files or not folder.path:
        return True
    temporary = temporary_name(upload)
    try:
        os.rename(upload, temporary, src_dir_fd=spool.fd, dst_dir_fd=folder.fd)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    os.rename(temporary, upload, src_dir_fd=folder.fd, dst_dir_fd=spool.fd)
    return True


def _using(folder: Folder) -> AbstractContextManager[None]:
    return translated(f"cannot use the folder {folder.path or '.'}")
