"""The store on a local filesystem.

A file is written to `.galileod/spool/`, made durable there, and renamed to its name in its folder;
the new name is made durable too. If it could not be renamed into the folder, it is written on the
folder's filesystem without a name, and linked. A suspended file stays in the spool, where the next
process finds it; one without a name is lost with its process. All names are opened relative to
directory descriptors, and symbolic links are never followed.
"""

from .store import LocalStore

__all__ = ["LocalStore"]
